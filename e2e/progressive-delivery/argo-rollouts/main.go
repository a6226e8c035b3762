// Shifts traffic with the SMI reconciler of Argo Rollouts. It creates the TrafficSplit if there is none, or patches it.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	rollouts "github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/rollout/trafficrouting/smi"
	"github.com/argoproj/argo-rollouts/utils/defaults"
	"github.com/argoproj/argo-rollouts/utils/record"
	"github.com/servicemeshinterface/smi-sdk-go/pkg/gen/client/split/clientset/versioned"
	"github.com/sirupsen/logrus"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	logrus.SetLevel(logrus.ErrorLevel)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("usage: TRAFFICSPLIT-VERSION NAMESPACE ROLLOUT CANARY-WEIGHT")
	}
	weight, err := strconv.ParseInt(args[3], 10, 32)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	owner, err := owner(config, args[1], args[2])
	if err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	client, err := versioned.NewForConfig(config)
	if err != nil {
		return err
	}
	defaults.SetSMIAPIVersion(args[0])
	reconciler, err := smi.NewReconciler(smi.ReconcilerConfig{
		Rollout:        rollout(owner),
		Client:         client,
		Recorder:       record.NewFakeEventRecorder(),
		ControllerKind: core.SchemeGroupVersion.WithKind("ConfigMap"),
	})
	if err != nil {
		return err
	}
	return reconciler.SetWeight(int32(weight))
}

// owner stands in for the Rollout: without an owner that exists, the garbage collector would delete the split.
func owner(config *rest.Config, namespace, name string) (*core.ConfigMap, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	maps := client.CoreV1().ConfigMaps(namespace)
	found, err := maps.Get(context.Background(), name, metav1.GetOptions{})
	if !errors.IsNotFound(err) {
		return found, err
	}
	wanted := &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	return maps.Create(context.Background(), wanted, metav1.CreateOptions{})
}

func rollout(owner *core.ConfigMap) *rollouts.Rollout {
	return &rollouts.Rollout{
		ObjectMeta: metav1.ObjectMeta{Namespace: owner.Namespace, Name: owner.Name, UID: owner.UID},
		Spec: rollouts.RolloutSpec{Strategy: rollouts.RolloutStrategy{Canary: &rollouts.CanaryStrategy{
			StableService: owner.Name + "-stable",
			CanaryService: owner.Name + "-canary",
			TrafficRouting: &rollouts.RolloutTrafficRouting{
				SMI: &rollouts.SMITrafficRouting{RootService: owner.Name},
			},
		}}},
	}
}
