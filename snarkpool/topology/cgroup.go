package topology

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// mount is a mounted cgroup hierarchy.
type mount struct {
	root, point string   // which group is mounted, and where
	controllers []string // of an older hierarchy; nil for the unified one
}

// cgroups finds the version of the cgroups and this process's group, and the limits of that group and all above it.
func (r *reader) cgroups() {
	mounts := r.mounts()
	groups := r.groups()
	unified := slices.IndexFunc(mounts, func(m mount) bool { return m.controllers == nil })
	older := func(controller string) (folders []string) {
		for _, m := range mounts {
			if slices.Contains(m.controllers, controller) {
				return r.chain(m, groups[controller])
			}
		}
		return nil
	}
	limits := &r.machine.Limits
	switch {
	case slices.ContainsFunc(mounts, func(m mount) bool { return m.controllers != nil }):
		r.machine.CgroupVersion = 1
		r.machine.Cgroup = groups["memory"]
		for _, folder := range older("cpu") {
			microseconds, has := r.number(folder + "/cpu.cfs_quota_us")
			period, ok := r.number(folder + "/cpu.cfs_period_us")
			if has && ok && microseconds > 0 && period > 0 {
				r.quota(quota(float64(microseconds), float64(period)))
			}
		}
		const none = 1 << 60 // no limit is written as the largest number of pages
		for _, folder := range older("memory") {
			r.limit(folder+"/memory.limit_in_bytes", none, &limits.MemoryBytes)
		}
		for _, folder := range older("pids") {
			r.limit(folder+"/pids.max", none, &limits.CgroupProcesses)
		}
		for i, folder := range older("cpuset") {
			if i == 0 {
				r.cpuset, r.mems = r.effective(folder, "cpuset.effective_cpus"), r.effective(folder, "cpuset.effective_mems")
			}
		}
	case unified >= 0:
		r.machine.CgroupVersion = 2
		r.machine.Cgroup = groups[""]
		for i, folder := range r.chain(mounts[unified], groups[""]) {
			r.cpuMax(folder + "/cpu.max")
			r.limit(folder+"/memory.max", 1<<60, &limits.MemoryBytes)
			r.limit(folder+"/pids.max", 1<<60, &limits.CgroupProcesses)
			if i == 0 {
				r.cpuset, r.mems = r.effective(folder, "cpuset.cpus.effective"), r.effective(folder, "cpuset.mems.effective")
			}
		}
	default:
		r.note("no cgroups are mounted: quotas and memory limits are not known")
	}
}

// mounts returns the mounted cgroup hierarchies (proc(5), /proc/pid/mountinfo).
func (r *reader) mounts() []mount {
	text, _ := r.text("proc/self/mountinfo")
	var mounts []mount
	for line := range strings.Lines(text) {
		before, behind, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(behind)
		if !ok || len(fields) < 5 || len(kind) < 3 {
			continue
		}
		m := mount{root: fields[3], point: strings.TrimPrefix(fields[4], "/")}
		switch kind[0] {
		case "cgroup2":
			mounts = append(mounts, m)
		case "cgroup":
			m.controllers = strings.Split(kind[2], ",")
			if !slices.ContainsFunc(m.controllers, func(c string) bool { return strings.HasPrefix(c, "name=") }) {
				mounts = append(mounts, m)
			}
		}
	}
	return mounts
}

// groups returns this process's group in the hierarchy of each controller; "" is the unified one.
func (r *reader) groups() map[string]string {
	text, _ := r.text("proc/self/cgroup")
	groups := map[string]string{}
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			groups[controller] = parts[2]
		}
	}
	return groups
}

// chain returns the folders of a group and all groups above it, up to the one that is mounted. In a container the group's path may be the
// host's, which is not below the mount point: then the mounted group is the one.
func (r *reader) chain(m mount, group string) []string {
	below := strings.TrimPrefix(group, strings.TrimSuffix(m.root, "/"))
	folder := path.Join(m.point, path.Clean("/"+below))
	if info, err := fs.Stat(r.files, folder); err != nil || !info.IsDir() {
		folder = m.point
	}
	folders := []string{folder}
	for folder != m.point && folder != "." {
		folder = path.Dir(folder)
		folders = append(folders, folder)
	}
	return folders
}

func (r *reader) effective(folder, name string) CPUSet {
	set, _ := r.list(path.Join(folder, name))
	if len(set) == 0 {
		return nil // no such controller here
	}
	return set
}

// limit keeps a file's number when it is the lowest; "max" and what is not below none are no limit.
func (r *reader) limit(name string, none uint64, into **uint64) {
	text, ok := r.text(name)
	if !ok || text == "max" {
		return
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		r.fail(name, fmt.Errorf("%q is no limit", text))
		return
	}
	if n < none {
		lower(into, n)
	}
}

func (r *reader) cpuMax(name string) {
	text, ok := r.text(name)
	if !ok || strings.HasPrefix(text, "max") {
		return
	}
	var microseconds, period float64
	if _, err := fmt.Sscan(text, &microseconds, &period); err != nil || microseconds <= 0 || period <= 0 {
		r.fail(name, fmt.Errorf("%q is no quota and period", text))
		return
	}
	r.quota(quota(microseconds, period))
}

func (r *reader) quota(cpus float64) {
	if of := &r.machine.Limits.QuotaCPUs; *of == 0 || cpus < *of {
		*of = cpus
	}
}
