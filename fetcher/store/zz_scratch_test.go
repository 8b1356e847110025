package store_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"slices"

	"provingground/fetcher/store"
	"provingground/internal/privatepg/pgtest"
	"provingground/schema"
)

func pgCPU(b *testing.B, uri string) (backends, others float64) {
	conn := benchConn(b, uri)
	rows, err := conn.Query(b.Context(), "SELECT pid, backend_type, coalesce(datname=current_database(),false), application_name FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
	if err != nil { b.Fatal(err) }
	for rows.Next() {
		var pid int; var kind, app string; var ours bool
		if err := rows.Scan(&pid, &kind, &ours, &app); err != nil { b.Fatal(err) }
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		u, _ := strconv.Atoi(f[11]); s, _ := strconv.Atoi(f[12])
		c := float64(u+s) / 100
		if ours { backends += c } else { others += c }
	}
	return
}
func selfCPU() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

func BenchmarkScratch(b *testing.B) {
	batches := benchLogs(b)
	entries := 0
	for _, batch := range batches { entries += len(batch.Entries) }
	for _, c := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(c), func(b *testing.B) {
			uri := pgtest.Database(b)
			if err := schema.Migrate(b.Context(), uri); err != nil { b.Fatal(err) }
			saved, err := store.Open(b.Context(), uri, store.Options{Connections: int32(c)})
			if err != nil { b.Fatal(err) }
			defer saved.Close()
			var wall, gocpu, pg, bg, cwall, cpg float64
			for round := 0; b.Loop(); round++ {
				deployment, _ := saved.NewDeployment(b.Context(), []byte("{}"))
				saved.Use(b.Context(), deployment)
				ours := slices.Clone(batches)
				for i := range ours { ours[i].Node = fmt.Sprintf("%s-%d", ours[i].Node, round) }
				p0, o0 := pgCPU(b, uri); g0 := selfCPU(); t0 := time.Now()
				benchSave(b, saved, ours, true)
				wall += time.Since(t0).Seconds(); gocpu += selfCPU() - g0
				p1, o1 := pgCPU(b, uri); pg += p1 - p0; bg += o1 - o0
				func() {
					conn := benchConn(b, uri)
					conn2 := benchConn(b, uri)
					tables := benchTables(b, conn2, deployment)
					var another int64
					conn.QueryRow(b.Context(), "SELECT create_deployment('{}')").Scan(&another)
					benchExec(b, conn, "SELECT ensure_day($1, day) FROM partition_day WHERE deployment_id = $2", another, deployment)
					cc := newBenchCopy(slices.Repeat(slices.Clone(append(conns(b, uri, c-1), conn)), 1), tables, "", another, entries/4000)
					p0, _ := pgCPU(b, uri)
					t0 := time.Now()
					benchTime(b, cc.run)
					cwall += time.Since(t0).Seconds()
					p1, _ := pgCPU(b, uri)
					cpg += p1 - p0
					benchExec(b, conn, "SELECT drop_deployment($1)", deployment)
					benchExec(b, conn, "SELECT drop_deployment($1)", another)
				}()
			}
			n := float64(b.N)
			b.ReportMetric(wall/n, "wall")
			b.ReportMetric(gocpu/n, "go")
			b.ReportMetric(pg/n, "pg")
			b.ReportMetric(bg/n, "bg")
			b.ReportMetric(cwall/n, "copywall")
			b.ReportMetric(cpg/n, "copypg")
			b.ReportMetric(cwall/wall, "of-copy")
			b.ReportMetric(cpg/(pg+gocpu), "cpu-of-copy")
		})
	}
}
