//go:build linux

package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"provingground/snarkpool/poolfile"
)

const (
	// unitName is what the agent's unit is called on every host.
	unitName = "snarkpool.service"
	// environmentFile may hold variables for the agent on a host, such as the database's address.
	environmentFile = "/etc/snarkpool/environment"
	// subgroupSince is the version of systemd from which on the agent's own process can stand in a sub-group of the delegated cgroup, and the controllers
	// that keep limits can be given to the workers' cgroups.
	subgroupSince = 254
)

// unit is the unit of a host's agent (systemd.service(5), systemd.exec(5), systemd.kill(5), systemd.resource-control(5)).
func (c call) unit(file poolfile.File, host string, labels map[string]string) string {
	arguments := []string{c.binary, "agent", "-state", c.stateDir, "-host", host}
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		arguments = append(arguments, "-label", key+"="+labels[key])
	}
	if c.metrics != "" {
		arguments = append(arguments, "-metrics", c.metrics)
	}
	if c.sha256 != "" {
		arguments = append(arguments, "-sha256", c.sha256)
	}
	if c.publisher != "" {
		arguments = append(arguments, "-publisher", c.publisher)
	}
	subgroup := ""
	if c.systemd >= subgroupSince {
		subgroup = "DelegateSubgroup=agent\n"
	}
	state := "# The state directory must be there before the agent starts.\nExecStartPre=/bin/mkdir -p " + c.stateDir + "\n"
	if below, ok := strings.CutPrefix(c.stateDir, "/var/lib/"); ok {
		state = "StateDirectory=" + below + "\nStateDirectoryMode=0755\n"
	}
	return fmt.Sprintf(`# The agent of the SNARK worker pool %s on %s.
# Made by snarkpool render systemd; change the pool file or its options, and render again.

[Unit]
Description=SNARK worker pool %s: agent of %s
Wants=network-online.target
After=network-online.target time-sync.target postgresql.service
# It is tried again for ever.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=%s $SNARKPOOL_OPTIONS %s
# Further options can stand there, as SNARKPOOL_OPTIONS, and variables such as the address of the database.
Environment=SNARKPOOL_OPTIONS=
EnvironmentFile=-%s
%sRestart=always
RestartSec=1

# Only the agent itself is ended: its workers go on, and the next agent adopts them. To end them, too: snarkpool stop all
KillMode=process
TimeoutStopSec=60
OOMPolicy=continue

# Workers get cgroups of their own below this one.
Delegate=yes
%sTasksMax=infinity
LimitNOFILE=%d
LimitNPROC=infinity
LimitCORE=0
# When memory runs out, a worker goes before the agent does.
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
`, file.Name, host, file.Name, host, strings.Join(arguments, " "), c.poolPath, environmentFile, state, subgroup, unitFiles)
}

// unitFiles is how many files an agent and its workers may have open, each of them.
const unitFiles = 65_536

// unitReadme says how to install the units.
func (c call) unitReadme(file poolfile.File, hosts []string) string {
	var text strings.Builder
	fmt.Fprintf(&text, `# Units of the pool %s

One agent runs on each machine, as the service snarkpool. On each of these hosts, with HOST the name of its folder:

    install -D -m 755 snarkpool %s
`, file.Name, c.binary)
	if !strings.HasPrefix(c.poolPath, "https://") {
		fmt.Fprintf(&text, "    install -D -m 644 pool.json %s\n", c.poolPath)
	}
	fmt.Fprintf(&text, `    install -D -m 644 HOST/%s /etc/systemd/system/%s
    systemctl daemon-reload
    systemctl enable --now snarkpool
    snarkpool doctor -state %s
    snarkpool status -state %s

Hosts: %s.

`, unitName, unitName, c.stateDir, c.stateDir, strings.Join(hosts, ", "))
	if variable, ok := strings.CutPrefix(file.Database, "env:"); ok {
		fmt.Fprintf(&text, "The pool file takes the database's address from the variable `%s`: write `%s=postgresql://…` into `%s`, of mode 0600.\n\n", variable, variable, environmentFile)
	}
	if file.Control.KeysFile != "" {
		keys := file.Control.KeysFile
		if !filepath.IsAbs(keys) && !strings.HasPrefix(c.poolPath, "https://") {
			keys = filepath.Join(filepath.Dir(c.poolPath), keys)
		}
		fmt.Fprintf(&text, "Who may command the agents from elsewhere stands in `%s`: put that file there. Commands are taken with "+
			"`SNARKPOOL_OPTIONS=-listen :8470 -cert FILE -cert-key FILE` in `%s`.\n\n", keys, environmentFile)
	}
	text.WriteString("`systemctl restart snarkpool`, an update of the program among them, ends no worker. `systemctl stop snarkpool` does not either: say `snarkpool stop all` before it.\n" +
		"A new pool file counts after `snarkpool apply`.\n\n")
	if c.systemd < subgroupSince {
		fmt.Fprintf(&text, "These units are for systemd %d. There, limits of memory are kept by the agent, which samples; on hosts with systemd %d or newer render with\n"+
			"`-systemd %d`, and the kernel keeps them.\n", c.systemd, subgroupSince, subgroupSince)
	} else {
		fmt.Fprintf(&text, "These units need systemd %d or newer: limits of memory are kept by the kernel. For older ones render with `-systemd 252`.\n", subgroupSince)
	}
	return text.String()
}
