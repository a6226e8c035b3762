// Shifts traffic with Flagger's own router. It creates the TrafficSplit if there is none, sets the weights and reads them
// back, as Flagger does in every step of an analysis.
package main

import (
	"fmt"
	"os"
	"strconv"

	flagger "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/fluxcd/flagger/pkg/client/clientset/versioned"
	"github.com/fluxcd/flagger/pkg/router"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("usage: PROVIDER NAMESPACE CANARY PRIMARY-WEIGHT CANARY-WEIGHT")
	}
	primary, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	shifted, err := strconv.Atoi(args[4])
	if err != nil {
		return err
	}
	mesh, err := meshRouter(args[0])
	if err != nil {
		return err
	}
	return shift(mesh, canary(args[1], args[2]), primary, shifted)
}

func meshRouter(provider string) (router.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	own, err := versioned.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	// Owner references are left out: this cluster has no Canary that could own a split.
	factory := router.NewFactory(config, core, own, "", "", zap.NewNop().Sugar(), own, false)
	return factory.MeshRouter(provider, "app"), nil
}

func canary(namespace, name string) *flagger.Canary {
	target := flagger.LocalObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name}
	return &flagger.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: flagger.CanarySpec{
			TargetRef: target,
			Service:   flagger.CanaryService{Port: 80},
		},
	}
}

// shift does what Flagger does in a step of an analysis.
func shift(mesh router.Interface, canary *flagger.Canary, primary, shifted int) error {
	if err := mesh.Reconcile(canary); err != nil {
		return fmt.Errorf("reconcile: %w", err)
	}
	if err := mesh.SetRoutes(canary, primary, shifted, false); err != nil {
		return fmt.Errorf("set routes: %w", err)
	}
	// If the split differed from what Flagger wrote, this would reset the weights.
	if err := mesh.Reconcile(canary); err != nil {
		return fmt.Errorf("reconcile again: %w", err)
	}
	foundPrimary, foundShifted, _, err := mesh.GetRoutes(canary)
	if err != nil {
		return fmt.Errorf("get routes: %w", err)
	}
	if foundPrimary != primary || foundShifted != shifted {
		return fmt.Errorf("wrote %d/%d and read %d/%d", primary, shifted, foundPrimary, foundShifted)
	}
	return nil
}
