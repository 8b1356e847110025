//go:build linux

package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"provingground/cmd/internal/boot"
	"provingground/snarkpool/control"
	"provingground/snarkpool/gpu"
	"provingground/snarkpool/gpu/nvml"
	"provingground/snarkpool/plan"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/topology"
)

// inventory is what a machine has, as inventory -json prints it and plan -inventory reads it.
type inventory struct {
	Machine topology.Machine `json:"machine"`
	GPUs    []gpu.Device     `json:"gpus,omitempty"`
	// NoGPUs is why GPUs could not be read; empty when they could.
	NoGPUs string `json:"no_gpus,omitempty"`
	// free is how much memory of a GPU, by its UUID, is free now; of this machine only.
	free map[string]uint64
}

// maxInventory bounds an inventory file, in bytes: that of a machine with 2,048 CPUs has half a megabyte.
const maxInventory = 16 << 20

// takeInventory reads the machine that the options name.
func (c call) takeInventory(ctx context.Context) (inventory, error) {
	switch {
	case c.inventoryFile != "" && c.root != "":
		return inventory{}, boot.Usagef("-inventory and -root exclude each other")
	case c.inventoryFile != "":
		return c.readInventory()
	}
	machine, err := topology.Read(c.root)
	if err != nil {
		err = fmt.Errorf("reading the machine: %w", err)
		if c.root != "" {
			err = boot.Usage(err)
		}
		return inventory{}, err
	}
	found := inventory{Machine: machine}
	if c.root != "" {
		found.NoGPUs = "the machine was read from files, which hold no GPUs"
		return found, nil
	}
	reader := nvml.Open()
	found.GPUs, err = reader.List(ctx)
	if err != nil {
		found.NoGPUs = reason(err)
		if ctx.Err() != nil {
			return found, errors.Join(signalled(ctx, err), reader.Close(context.WithoutCancel(ctx)))
		}
		return found, reader.Close(ctx)
	}
	found.free = make(map[string]uint64)
	for _, device := range found.GPUs {
		if reading, err := reader.Read(ctx, device.UUID); err == nil && reading.MemoryFreeBytes != nil {
			found.free[device.UUID] = *reading.MemoryFreeBytes
		}
	}
	return found, reader.Close(ctx)
}

// reason is why GPUs cannot be read, in few words.
func reason(err error) string {
	var unavailable *gpu.UnavailableError
	if errors.As(err, &unavailable) {
		return unavailable.Reason
	}
	return err.Error()
}

func (c call) readInventory() (inventory, error) {
	var text []byte
	var err error
	if c.inventoryFile == "-" {
		text, err = io.ReadAll(io.LimitReader(c.stdin, maxInventory+1))
	} else {
		text, _, err = boot.ReadSmall(c.inventoryFile, maxInventory)
	}
	if err != nil {
		return inventory{}, boot.Usagef("the inventory: %w", err)
	}
	var found inventory
	if err := json.Unmarshal(text, &found); err != nil || len(found.Machine.CPUs) == 0 {
		return inventory{}, boot.Usagef("%s is no inventory (%w): snarkpool inventory -json prints one", c.inventoryFile, orNoCPUs(err))
	}
	return found, nil
}

func orNoCPUs(err error) error {
	if err == nil {
		return errors.New("there are no CPUs in it")
	}
	return err
}

func inventoryVerb(ctx context.Context, c call) error {
	var found inventory
	var err error
	if c.named() {
		found, err = c.askInventory(ctx)
	} else {
		found, err = c.takeInventory(ctx)
	}
	if err != nil {
		return err
	}
	if c.json {
		return c.print(found)
	}
	_, err = io.WriteString(c.stdout, found.text())
	return err //nolint:wrapcheck // says that standard output failed
}

// askInventory asks the agent for its machine and GPUs.
func (c call) askInventory(ctx context.Context) (found inventory, err error) {
	for _, name := range []string{"root", "inventory"} {
		if c.given[name] {
			return found, boot.Usagef("-%s asks no agent: leave out -socket and -agent", name)
		}
	}
	return found, errors.Join(c.askReport(ctx, control.OpInventory, &found.Machine), c.askReport(ctx, control.OpGPUList, &found.GPUs))
}

// askReport asks the agent for a report, and reads it.
func (c call) askReport(ctx context.Context, operation control.Operation, into any) error {
	return c.ask(ctx, func(client *control.Client) error {
		report, err := client.Report(ctx, operation)
		if err != nil {
			return err //nolint:wrapcheck // says it all
		}
		if err := json.Unmarshal(report, into); err != nil {
			return fmt.Errorf("the agent's %s cannot be read: %w: is it of another version?", operation, err)
		}
		return nil
	})
}

// report prints what the agent says of a machine or a plan, as its JSON: indented for people.
func (c call) report(ctx context.Context, operation control.Operation) error {
	return c.ask(ctx, func(client *control.Client) error {
		report, err := client.Report(ctx, operation)
		if err != nil {
			return err //nolint:wrapcheck // says it all
		}
		if c.json {
			return c.print(report)
		}
		encoder := json.NewEncoder(c.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report) //nolint:wrapcheck // says that standard output failed
	})
}

// text is an inventory for people.
func (i inventory) text() string {
	m := i.Machine
	var out strings.Builder
	cores, packages, caches, efficient := make(map[int]bool), make(map[int]bool), make(map[int]bool), 0
	for _, cpu := range m.CPUs {
		if !cpu.Online {
			continue
		}
		if !cores[cpu.Core] && cpu.Efficiency {
			efficient++
		}
		cores[cpu.Core], packages[cpu.Package], caches[cpu.LastLevelCache] = true, true, true
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&out, "%-10s %s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	line("host", "%s, %s, kernel %s", orElse(m.Hostname, unknown), orElse(m.Architecture, unknown), orElse(m.Kernel, unknown))
	line("processor", "%s", orElse(m.CPUModel, unknown))
	slow := ""
	if efficient > 0 {
		slow = fmt.Sprintf(", of which %d cores are slower ones", efficient)
	}
	line("cpus", "%s in %s, %s, %s%s; workers may use %s", count(uint64(len(m.CPUs)), "CPU", "CPUs"), count(uint64(len(cores)), "core", "cores"),
		count(uint64(len(packages)), "package", "packages"), count(uint64(len(caches)), "last-level cache", "last-level caches"), slow, orElse(m.Allowed.String(), "none"))
	line("memory", "%s, %s available, %s swap", poolfile.Bytes(m.Memory.TotalBytes).Round(), poolfile.Bytes(m.Memory.AvailableBytes).Round(),
		poolfile.Bytes(m.Memory.SwapBytes).Round())
	for _, node := range m.Nodes {
		parts := []string{"CPUs " + orElse(node.CPUs.String(), "none"), poolfile.Bytes(node.MemoryBytes).Round()}
		for _, p := range node.HugePages {
			if p.Total > 0 {
				parts = append(parts, fmt.Sprintf("%d of %d huge pages of %s free", p.Free, p.Total, poolfile.Bytes(p.SizeBytes).Round()))
			}
		}
		line(fmt.Sprintf("node %d", node.ID), "%s", strings.Join(parts, ", "))
	}
	if m.Limits.QuotaCPUs > 0 {
		line("quota", "the cgroup gives the time of %.4g CPUs", m.Limits.QuotaCPUs)
	}
	if m.Limits.MemoryBytes != nil {
		line("limit", "the cgroup gives %s of memory", poolfile.Bytes(*m.Limits.MemoryBytes).Round())
	}
	line("cgroups", "%s", map[int]string{0: "none", 1: "version 1, or a hybrid: no memory limits by the kernel", 2: "version 2"}[m.CgroupVersion])
	switch {
	case i.NoGPUs != "":
		line("gpus", "not known: %s", i.NoGPUs)
	case len(i.GPUs) == 0:
		line("gpus", "none")
	}
	for n, device := range i.GPUs {
		node := unknown
		if device.Node != nil {
			node = fmt.Sprint(*device.Node)
		}
		line(fmt.Sprintf("gpu %d", n), "%s  %s, %s, node %s, PCI %s, driver %s", device.UUID, orElse(device.Model, unknown), amount(device.MemoryBytes), node,
			orElse(device.PCI, unknown), orElse(device.Driver, unknown))
	}
	for _, note := range m.Notes {
		line("note", "%s", note)
	}
	return out.String()
}

// placeable returns GPUs as a placement needs them: whole ones, and the parts of divided ones. The plan of a machine without its agent takes
// all of them for checked.
func (i inventory) placeable() []plan.GPU {
	var gpus []plan.GPU
	for _, device := range i.GPUs {
		g := plan.GPU{UUID: device.UUID, Model: device.Model, Node: -1, CPUs: device.CPUs, Checked: true}
		if device.Node != nil {
			g.Node = *device.Node
		}
		if len(device.MIG) == 0 {
			if device.MemoryBytes != nil {
				g.MemoryBytes = *device.MemoryBytes
			}
			if free, known := i.free[device.UUID]; known {
				g.MemoryFree = &free
			}
			gpus = append(gpus, g)
			continue
		}
		for _, part := range device.MIG {
			g := g
			g.UUID, g.Model, g.MemoryBytes = part.UUID, orElse(part.Model, device.Model), 0
			if part.MemoryBytes != nil {
				g.MemoryBytes = *part.MemoryBytes
			}
			gpus = append(gpus, g)
		}
	}
	return gpus
}

// hostName returns the host's name in the pool file.
func (c call) hostName(m topology.Machine) string {
	if c.host != "" {
		return c.host
	}
	name, _, _ := strings.Cut(m.Hostname, ".")
	return name
}

// source says where the pool file comes from, and what it must be.
func (c call) source(location, cache string) (poolfile.Source, error) {
	source := poolfile.Source{Location: location, Pin: poolfile.Pin{SHA256: c.sha256}, Cache: orElse(c.cache, cache)}
	if c.publisher != "" {
		key, err := base64.StdEncoding.DecodeString(c.publisher)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return source, boot.Usagef("-publisher: give the base64 of a 32-byte Ed25519 public key")
		}
		source.Pin.PublicKey = key
	}
	return source, nil
}

// load reads the pool file that the command line names.
func (c call) load(ctx context.Context, location string) (poolfile.File, error) {
	source, err := c.source(location, "")
	if err != nil {
		return poolfile.File{}, err
	}
	file, err := poolfile.Load(ctx, source)
	if err != nil {
		return file, boot.Usage(inFile(location, err))
	}
	if file.Stale != "" {
		c.warn("this is the last good copy of the pool file: %s", file.Stale)
	}
	return file, nil
}

// inFile puts the name of the pool file before each place in it, as in pool.json:3:7.
func inFile(location string, err error) error {
	lines := strings.Split(err.Error(), "\n")
	for i, line := range lines {
		if line != "" && line[0] >= '0' && line[0] <= '9' {
			lines[i] = location + ":" + line
		} else if place, found := strings.CutPrefix(line, "pool file:"); found {
			lines[i] = location + ":" + place
		}
	}
	return &placedError{text: strings.Join(lines, "\n"), err: err}
}

// placedError is an error in other words.
type placedError struct {
	text string
	err  error
}

func (e *placedError) Error() string { return e.text }
func (e *placedError) Unwrap() error { return e.err }

// makePlan places the workers of the pool file on a machine.
func (c call) makePlan(file poolfile.File, found inventory) (plan.Plan, error) {
	host := c.hostName(found.Machine)
	pools, err := file.ForHost(host, c.labels)
	if errors.Is(err, poolfile.ErrNoRule) {
		return plan.Plan{}, boot.Usagef("%w (-host and -label say which host this is)", err)
	}
	if err != nil {
		return plan.Plan{}, boot.Usage(err)
	}
	made, err := plan.Make(plan.Input{Host: host, Machine: found.Machine, GPUs: found.placeable(), Pools: pools})
	if err != nil {
		return made, fmt.Errorf("placing the workers of %s: %w", host, err)
	}
	return made, nil
}

func planVerb(ctx context.Context, c call) error {
	var made plan.Plan
	if len(c.arguments) == 0 {
		for _, name := range []string{"root", "inventory", "host", "label", "sha256", "publisher", "cache"} {
			if c.given[name] {
				return boot.Usagef("-%s is for the plan of a pool file: name the file", name)
			}
		}
		if err := c.askReport(ctx, control.OpPlan, &made); err != nil {
			return err
		}
	} else {
		if c.named() {
			return boot.Usagef("with a pool file the plan is made here: leave out -socket and -agent, or the file")
		}
		file, err := c.load(ctx, c.arguments[0])
		if err != nil {
			return err
		}
		found, err := c.takeInventory(ctx)
		if err != nil {
			return err
		}
		if made, err = c.makePlan(file, found); err != nil {
			return err
		}
		if found.NoGPUs != "" && usesGPUs(file, made) {
			c.warn("the machine's GPUs are not known: %s", found.NoGPUs)
		}
	}
	if c.json {
		return c.print(made)
	}
	_, err := io.WriteString(c.stdout, made.Explain())
	return err //nolint:wrapcheck // says that standard output failed
}

// usesGPUs tells whether a plan's host has a pool with GPUs.
func usesGPUs(file poolfile.File, made plan.Plan) bool {
	for name := range made.WhyNotMore {
		if file.Pools[name].GPU != nil {
			return true
		}
	}
	return false
}

// executable returns the path of this program.
func executable() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program's own file: %w", err)
	}
	return path, nil
}
