// Asks the health assessments of Flux (kstatus) and Argo CD (a Lua script) what they make of objects with the statuses that
// the operator writes. The folder of an object says what is expected.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// health is what a tool may say of the objects in a folder.
type health struct {
	flux map[status.Status]bool
	argo map[string]bool
}

var expected = map[string]health{
	"healthy": {
		flux: map[status.Status]bool{status.CurrentStatus: true},
		argo: map[string]bool{"Healthy": true},
	},
	"progressing": {
		flux: map[status.Status]bool{status.InProgressStatus: true, status.FailedStatus: true},
		argo: map[string]bool{"Progressing": true, "Degraded": true},
	},
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(directory string) error {
	script, err := documented(filepath.Join(directory, "..", "..", "docs", "operate.md"))
	if err != nil {
		return err
	}
	count, wrong := 0, 0
	for folder, expected := range expected {
		paths, err := filepath.Glob(filepath.Join(directory, "objects", folder, "*.json"))
		if err != nil {
			return err
		}
		if len(paths) == 0 {
			return fmt.Errorf("there are no objects in %s", folder)
		}
		for _, path := range paths {
			object, err := read(path)
			if err != nil {
				return err
			}
			flux, err := status.Compute(object)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			argo, err := argoHealth(script, object.Object)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			count++
			if !expected.flux[flux.Status] || !expected.argo[argo] {
				wrong++
				fmt.Printf("%s/%s: Flux says %s (%s), Argo CD says %s\n",
					folder, filepath.Base(path), flux.Status, flux.Message, argo)
			}
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d objects are not seen as they are", wrong, count)
	}
	fmt.Printf("Flux and Argo CD see %d objects as they are\n", count)
	return nil
}

// documented is the script that the page tells people to install.
func documented(page string) (string, error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return "", err
	}
	_, behind, found := strings.Cut(string(text), "```lua\n")
	script, _, ended := strings.Cut(behind, "```")
	if !found || !ended {
		return "", fmt.Errorf("%s holds no Lua script", page)
	}
	return script, nil
}

func read(path string) (*unstructured.Unstructured, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return object, nil
}

// argoHealth runs the script as Argo CD does: the object is the global obj, and a table comes back.
func argoHealth(script string, object map[string]any) (string, error) {
	state := lua.NewState()
	defer state.Close()
	state.SetGlobal("obj", value(state, object))
	if err := state.DoString(script); err != nil {
		return "", err
	}
	answer, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return "", fmt.Errorf("the script returns no table")
	}
	return lua.LVAsString(answer.RawGetString("status")), nil
}

func value(state *lua.LState, in any) lua.LValue {
	switch in := in.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, one := range in {
			table.RawSetString(key, value(state, one))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, one := range in {
			table.Append(value(state, one))
		}
		return table
	case string:
		return lua.LString(in)
	case bool:
		return lua.LBool(in)
	case int64:
		return lua.LNumber(in)
	case float64:
		return lua.LNumber(in)
	case json.Number:
		number, err := in.Float64()
		if err != nil {
			return lua.LNil
		}
		return lua.LNumber(number)
	default:
		return lua.LNil
	}
}
