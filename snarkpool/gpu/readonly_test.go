package gpu_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// This file proves that nothing in the module can change a GPU's settings. There are three ways to a GPU's settings, and each is closed
// for every file, whatever its build tags:
//
//   - NVIDIA's library. One package alone imports it, and selects nothing from it, or from any value of its types, that is not in the list
//     below; it uses no reflection, which could get around names, and its exported declarations let no value of those types out.
//   - C. No file imports "C", nor the package that loads libraries.
//   - NVIDIA's commands. No file names one to run it, other than to query.

// libraryUser is the package that may import NVIDIA's library.
const libraryUser = "snarkpool/gpu/nvml"

const librarysPath = "github.com/NVIDIA/go-nvml/"

// readOnly are all names of the library, and all names selected from its values, that the package may use. Before adding one, make sure from
// NVIDIA's documentation that it changes nothing: EventSetCreate, RegisterEvents, Wait and Free concern a queue of the caller's own.
var readOnly = []string{
	// of the library
	"New", "Init", "Shutdown", "Extensions", "LookupSymbol", "SystemGetDriverVersion", "DeviceGetCount", "DeviceGetHandleByIndex",
	"DeviceGetHandleByUUID", "EventSetCreate",
	// of a device
	"GetUUID", "GetName", "GetMemoryInfo", "GetPciInfo", "GetCurrPcieLinkGeneration", "GetCurrPcieLinkWidth", "GetMaxPcieLinkGeneration",
	"GetMaxPcieLinkWidth", "GetMemoryAffinity", "GetCpuAffinity", "GetCudaComputeCapability", "GetMigMode", "GetMaxMigDeviceCount",
	"GetMigDeviceHandleByIndex", "GetGpuInstanceId", "GetComputeInstanceId", "GetUtilizationRates", "GetTemperature", "GetPowerUsage",
	"GetTotalEnergyConsumption", "GetCurrentClocksThrottleReasons", "GetEccMode", "GetTotalEccErrors", "GetRemappedRows",
	"GetComputeRunningProcesses", "GetSupportedEventTypes", "RegisterEvents",
	// of a set of events
	"Wait", "Free",
	// types and their fields
	"Return", "Device", "EventSet", "EventData", "EventType", "ExtendedInterface", "Memory", "PciInfo", "AffinityScope", "Utilization",
	"TemperatureSensors", "EnableState", "MemoryErrorType", "EccCounterType", "ProcessInfo", "Total", "Used", "Domain", "Bus", "Gpu", "Pid",
	"UsedGpuMemory",
	// constants
	"SUCCESS", "ERROR_NOT_SUPPORTED", "ERROR_NO_PERMISSION", "ERROR_NOT_FOUND", "ERROR_INVALID_ARGUMENT", "ERROR_FUNCTION_NOT_FOUND",
	"ERROR_GPU_IS_LOST", "ERROR_DRIVER_NOT_LOADED", "ERROR_LIBRARY_NOT_FOUND", "ERROR_LIB_RM_VERSION_MISMATCH", "ERROR_INSUFFICIENT_POWER",
	"ERROR_RESET_REQUIRED", "ERROR_TIMEOUT", "EventTypeXidCriticalError", "EventTypeDoubleBitEccError", "AFFINITY_SCOPE_NODE",
	"DEVICE_MIG_ENABLE", "TEMPERATURE_GPU", "FEATURE_ENABLED", "MEMORY_ERROR_TYPE_CORRECTED", "MEMORY_ERROR_TYPE_UNCORRECTED", "VOLATILE_ECC",
	"ClocksThrottleReasonGpuIdle", "ClocksThrottleReasonApplicationsClocksSetting", "ClocksThrottleReasonSwPowerCap",
	"ClocksThrottleReasonHwSlowdown", "ClocksThrottleReasonSyncBoost", "ClocksThrottleReasonSwThermalSlowdown",
	"ClocksThrottleReasonHwThermalSlowdown", "ClocksThrottleReasonHwPowerBrakeSlowdown", "ClocksThrottleReasonDisplayClockSetting",
	// names of our own types and of the standard library's, selected from values in the same package
	"MIGEnabled", "MIG", "Node", "CPUs", "Model", "PCI", "MemoryBytes", "ComputeCapability", "Driver", "Missing", "MemoryTotalBytes",
	"MemoryUsedBytes", "MemoryFreeBytes", "UtilisationPercent", "MemoryUtilisationPercent", "Throttle", "Processes", "Kind", "XID",
	"Done", "Err", "Stop", "C", "Milliseconds",
}

// changing begins the names of what changes something, in the library's spelling. Tests of the package, which set functions of its mocks,
// are held to this instead of the list.
var changing = regexp.MustCompile(`^(Device|System|Unit|GpuInstance|ComputeInstance|Vgpu\w*?)?(Set|Reset|Enable|Disable|Clear|Create|Destroy|Remove|Modify|` +
	`Activate|Update|Freeze|Discover|ReadWrite|PowerSmoothing\w+|WorkloadPowerProfile\w*(Set|Clear|Update)|Inject|Apply|Validate)[A-Z]`)

// commands are NVIDIA's programs, where a text would run them: as a word of its own that ends the text or is followed by an option, unless
// that option queries.
var commands = regexp.MustCompile(`(?:^|[\s/;&|("'])(nvidia-smi|nvidia-settings|nvidia-persistenced|nvidia-modprobe|dcgmi|nvidia-cuda-mps-control)(?:$|\s+(-\S*))`)

// settingsUse says what in a file could change a GPU's settings. path is relative to the module.
func settingsUse(path string, content []byte) ([]string, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, content, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	var found []string
	report := func(node ast.Node, format string, arguments ...any) {
		found = append(found, fmt.Sprintf("%s: ", files.Position(node.Pos()))+fmt.Sprintf(format, arguments...))
	}
	test := strings.HasSuffix(path, "_test.go")
	user := filepath.ToSlash(filepath.Dir(path)) == libraryUser
	packages := make(map[string]string) // names under which the file knows packages
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		name := imported[strings.LastIndex(imported, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		packages[name] = imported
		switch {
		case imported == "C":
			report(spec, `import "C" could call anything`)
		case strings.HasPrefix(imported, librarysPath+"pkg/dl"):
			report(spec, "the loader of libraries could call anything")
		case strings.HasPrefix(imported, librarysPath) && !user:
			report(spec, "only %s imports NVIDIA's library", libraryUser)
		case strings.HasPrefix(imported, librarysPath+"pkg/nvml/mock") && !test:
			report(spec, "mocks are for tests")
		case user && (name == "." || name == "_"):
			report(spec, "an import without a name hides what is used")
		case user && slices.Contains([]string{"reflect", "unsafe", "plugin", "syscall"}, imported):
			report(spec, "%s gets around names", imported)
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.BasicLit:
			if node.Kind == token.STRING && !test {
				if text, err := strconv.Unquote(node.Value); err == nil {
					for _, match := range commands.FindAllStringSubmatch(text, -1) {
						if option := match[2]; option != "-L" && !strings.HasPrefix(option, "-q") && !strings.HasPrefix(option, "--query") {
							report(node, "%s can change settings", match[1])
						}
					}
				}
			}
		case *ast.SelectorExpr:
			if !user || !node.Sel.IsExported() {
				return true
			}
			if name, ok := node.X.(*ast.Ident); ok && name.Obj == nil {
				if imported, ok := packages[name.Name]; ok && !strings.HasPrefix(imported, librarysPath) {
					return true
				}
			}
			listed := slices.Contains(readOnly, node.Sel.Name)
			if !listed && (!test || changing.MatchString(node.Sel.Name)) {
				report(node, "%s is not on the list of what only reads", node.Sel.Name)
			}
		}
		return true
	})
	if user && !test {
		for _, group := range file.Comments {
			for _, comment := range group.List {
				if strings.HasPrefix(comment.Text, "//go:linkname") {
					report(comment, "a linkname gets around names")
				}
			}
		}
		for _, declaration := range file.Decls {
			for _, use := range letsOut(declaration, packages) {
				report(use, "an exported declaration lets out a value of the library")
			}
		}
	}
	return found, nil
}

// letsOut are the places where an exported declaration mentions a type of the library, through which others could get hold of a value.
func letsOut(declaration ast.Decl, packages map[string]string) []ast.Node {
	var out []ast.Node
	mentions := func(node ast.Node) {
		if node == nil {
			return
		}
		ast.Inspect(node, func(node ast.Node) bool {
			if selector, ok := node.(*ast.SelectorExpr); ok {
				if name, ok := selector.X.(*ast.Ident); ok && strings.HasPrefix(packages[name.Name], librarysPath) {
					out = append(out, node)
				}
			}
			if name, ok := node.(*ast.Ident); ok && (name.Name == "device" || name.Name == "library" || name.Name == "watching") {
				out = append(out, node)
			}
			return true
		})
	}
	switch declaration := declaration.(type) {
	case *ast.FuncDecl:
		if declaration.Name.IsExported() {
			for _, list := range []*ast.FieldList{declaration.Type.Params, declaration.Type.Results} {
				if list == nil {
					continue
				}
				for _, field := range list.List {
					mentions(field.Type)
				}
			}
		}
	case *ast.GenDecl:
		for _, spec := range declaration.Specs {
			switch spec := spec.(type) {
			case *ast.ValueSpec:
				if slices.ContainsFunc(spec.Names, (*ast.Ident).IsExported) {
					mentions(spec)
				}
			case *ast.TypeSpec:
				if !spec.Name.IsExported() {
					continue
				}
				structure, ok := spec.Type.(*ast.StructType)
				if !ok {
					mentions(spec.Type)
					continue
				}
				for _, field := range structure.Fields.List {
					if len(field.Names) == 0 || slices.ContainsFunc(field.Names, (*ast.Ident).IsExported) {
						mentions(field.Type)
					}
				}
			}
		}
	}
	return out
}

func TestNothingHereChangesAGPUsSettings(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("the module's root: %v", err)
	}
	scanned, ofUser := 0, 0
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "node_modules") {
				return fs.SkipDir // as the go command does
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		found, err := settingsUse(relative, content)
		if err != nil {
			return err
		}
		for _, use := range found {
			t.Error(use)
		}
		scanned++
		if strings.HasPrefix(filepath.ToSlash(relative), libraryUser+"/") {
			ofUser++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if scanned < 100 || ofUser < 5 {
		t.Errorf("only %d files were looked at, %d of them in %s", scanned, ofUser, libraryUser)
	}
}

func TestTheListItselfReadsOnly(t *testing.T) {
	for _, name := range readOnly {
		if changing.MatchString(name) && name != "EnableState" { // a type: on or off
			t.Errorf("%s is on the list, and by its name it changes something", name)
		}
	}
}

func TestWhatCouldChangeSettingsIsFound(t *testing.T) {
	const user = libraryUser + "/sample.go"
	const library = "package p\nimport \"github.com/NVIDIA/go-nvml/pkg/nvml\"\n"
	bad := map[string]struct{ path, content, want string }{
		"a method of a device":          {user, library + `func f(d nvml.Device) { d.SetPersistenceMode(nvml.FEATURE_ENABLED) }`, "SetPersistenceMode is not"},
		"a function of the library":     {user, library + `func f(d nvml.Device) { nvml.DeviceResetGpuLockedClocks(d) }`, "DeviceResetGpuLockedClocks is not"},
		"a method taken as a value":     {user, library + `func f(d nvml.Device) { g := d.SetPowerManagementLimit; g(100) }`, "SetPowerManagementLimit is not"},
		"a method as an expression":     {user, library + `var f = nvml.Device.ClearEccErrorCounts`, "ClearEccErrorCounts is not"},
		"one nobody has heard of":       {user, library + `func f(d nvml.Device) { d.TurnOff() }`, "TurnOff is not"},
		"through an interface of ours":  {user, "package p\n" + `type d interface{ EnableThing() }` + "\n" + `func f(x d) { x.EnableThing() }`, "EnableThing is not"},
		"through a shadowed package":    {user, "package p\nimport \"fmt\"\n" + `func f(d device) { fmt := d; fmt.SetFanSpeed(1) }` + "\nvar _ = fmt.Sprint", "SetFanSpeed is not"},
		"under another name":            {user, "package p\nimport fmt \"github.com/NVIDIA/go-nvml/pkg/nvml\"\n" + `var f = fmt.DeviceSetMigMode`, "DeviceSetMigMode is not"},
		"without a name":                {user, "package p\nimport . \"github.com/NVIDIA/go-nvml/pkg/nvml\"\n", "without a name"},
		"by reflection":                 {user, "package p\nimport \"reflect\"\nvar f = reflect.ValueOf\n", "reflect gets around"},
		"by linkname":                   {user, "package p\n//go:linkname f g\nfunc f()\n", "a linkname"},
		"a test that sets":              {libraryUser + "/sample_test.go", library + `func f(d nvml.Device) { d.SetMigMode(1) }`, "SetMigMode is not"},
		"a test that divides":           {libraryUser + "/sample_test.go", library + `func f(d nvml.Device) { d.CreateGpuInstance(nil) }`, "CreateGpuInstance is not"},
		"mocks in the program":          {user, "package p\nimport _ \"github.com/NVIDIA/go-nvml/pkg/nvml/mock\"\n", "mocks are for tests"},
		"another package":               {"snarkpool/agent.go", library, "only " + libraryUser + " imports"},
		"the loader":                    {user, "package p\nimport \"github.com/NVIDIA/go-nvml/pkg/dl\"\nvar f = dl.New\n", "loader of libraries"},
		"C":                             {"cmd/snarkpool/c.go", "package main\nimport \"C\"\n", `import "C"`},
		"a result that lets out":        {user, library + `func (r *Reader) Handle() nvml.Device { return nil }`, "lets out"},
		"a parameter that lets out":     {user, library + `func With(f func(nvml.Device)) {}`, "lets out"},
		"a field that lets out":         {user, library + `type Reader struct { Handle device }`, "lets out"},
		"an embedded field":             {user, library + `type Reader struct { nvml.Device }`, "lets out"},
		"a variable":                    {user, library + `var Handle nvml.Device`, "lets out"},
		"a command":                     {"snarkpool/agent.go", `package p; var c = "nvidia-smi"`, "nvidia-smi can change"},
		"a command with an option":      {"snarkpool/agent.go", `package p; var c = "sudo nvidia-smi -pl 200"`, "nvidia-smi can change"},
		"a command with its path":       {"snarkpool/agent.go", "package p; var c = `/usr/bin/nvidia-settings`", "nvidia-settings can change"},
		"a command in a line of script": {"scripts/x.go", `package p; var c = "true;dcgmi  --reset"`, "dcgmi can change"},
	}
	for name, sample := range bad {
		found, err := settingsUse(sample.path, []byte(sample.content))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !strings.Contains(strings.Join(found, "\n"), sample.want) {
			t.Errorf("%s: found %q, want %q", name, found, sample.want)
		}
	}
	good := map[string]struct{ path, content string }{
		"reading":        {user, library + `func f(d nvml.Device) { d.GetPowerUsage() }`},
		"a mock in test": {libraryUser + "/sample_test.go", "package p\nimport \"github.com/NVIDIA/go-nvml/pkg/nvml/mock\"\n" + `func f(d *mock.Device) { d.GetPowerUsageFunc = nil }`},
		"a query":        {"cmd/snarkpool/x.go", `package p; var c = "compare with nvidia-smi -q -x or nvidia-smi --query-gpu=name"`},
		"words":          {"cmd/snarkpool/x.go", `package p; var c = "what nvidia-smi says"`},
		"our own Set":    {"snarkpool/supervise/x.go", `package p; func f(s interface{ SetSpecs() }) { s.SetSpecs() }`},
	}
	for name, sample := range good {
		if found, err := settingsUse(sample.path, []byte(sample.content)); err != nil || len(found) > 0 {
			t.Errorf("%s: found %q, %v; want nothing", name, found, err)
		}
	}
}
