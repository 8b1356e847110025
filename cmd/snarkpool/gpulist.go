//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"provingground/cmd/internal/boot"
	"provingground/snarkpool/control"
	"provingground/snarkpool/gpu"
	"provingground/snarkpool/gpu/nvml"
)

// gpuReport is what gpu list -local -json prints.
type gpuReport struct {
	GPUs []gpuNow `json:"gpus"`
	// Unavailable is why GPUs cannot be read; empty when they can.
	Unavailable string `json:"unavailable,omitempty"`
}

// gpuNow is one GPU.
type gpuNow struct {
	gpu.Device
	Reading *gpu.Reading `json:"reading,omitempty"`
	// Unread is why there is no reading.
	Unread string `json:"unread,omitempty"`
	// Health and Workers are what an agent knows of it; absent with -local.
	Health  *gpu.Health `json:"health,omitempty"`
	Workers []string    `json:"workers,omitempty"`
}

func gpuListVerb(ctx context.Context, c call) error {
	if c.local && c.named() {
		return boot.Usagef("-local asks no agent: leave out -socket and -agent")
	}
	var report gpuReport
	var err error
	if c.local {
		report, err = readGPUs(ctx)
	} else {
		err = c.askReport(ctx, control.OpGPUList, &report.GPUs)
	}
	if err != nil {
		return err
	}
	if c.json {
		return c.print(report)
	}
	switch {
	case report.Unavailable != "":
		_, err := fmt.Fprintf(c.stdout, "GPUs cannot be read: %s\n", report.Unavailable)
		return err //nolint:wrapcheck // says that standard output failed
	case len(report.GPUs) == 0:
		_, err := fmt.Fprintln(c.stdout, "no GPUs")
		return err //nolint:wrapcheck // says that standard output failed
	}
	var rows [][]string
	for _, g := range report.GPUs {
		row := []string{g.UUID, g.Model, amount(g.MemoryBytes), g.PCI, unknown, unknown, unknown, unknown, "", strings.Join(g.Workers, " "), g.Unread}
		if r := g.Reading; r != nil {
			row[4], row[5], row[6] = amount(r.MemoryFreeBytes), figure("%d%%", r.UtilisationPercent), figure("%d°C", r.TemperatureCelsius)
			if r.PowerMilliwatts != nil {
				row[7] = fmt.Sprintf("%.0f W", float64(*r.PowerMilliwatts)/1000)
			}
			row[10] = strings.Join(r.Throttle, ", ")
		}
		if h := g.Health; h != nil {
			row[8] = string(h.State)
			if h.Cause != "" {
				row[10] = strings.TrimPrefix(row[10]+", "+h.Cause, ", ")
			}
		}
		rows = append(rows, row)
	}
	_, err = fmt.Fprint(c.stdout, table([]string{"UUID", "MODEL", "MEMORY", "PCI", "FREE", "USE", "TEMP", "POWER", "HEALTH", "WORKERS", "REMARK"}, rows, 0))
	return err //nolint:wrapcheck // says that standard output failed
}

// readGPUs asks this machine's driver.
func readGPUs(ctx context.Context) (report gpuReport, err error) {
	reader := nvml.Open()
	defer func() { err = errors.Join(err, reader.Close(ctx)) }()
	devices, err := reader.List(ctx)
	var unavailable *gpu.UnavailableError
	if errors.As(err, &unavailable) {
		return gpuReport{GPUs: []gpuNow{}, Unavailable: unavailable.Reason}, nil
	}
	if err != nil {
		return report, fmt.Errorf("listing the GPUs: %w", err)
	}
	report.GPUs = make([]gpuNow, len(devices))
	for i, device := range devices {
		report.GPUs[i].Device = device
		reading, err := reader.Read(ctx, device.UUID)
		if err != nil {
			report.GPUs[i].Unread = err.Error()
			continue
		}
		report.GPUs[i].Reading = &reading
	}
	return report, nil
}
