package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"provingground/snarkpool/ledger"
)

// fill stores so many jobs.
func fill(b *testing.B, l *ledger.Ledger, prefix string, n int) {
	b.Helper()
	for n > 0 {
		var jobs []ledger.Job
		for range min(n, 1000) {
			jobs = append(jobs, job(fmt.Sprintf("%s-%d", prefix, n)))
			n--
		}
		if _, err := l.Submit(b.Context(), "bench", jobs); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLease leases one job at a time, as one fed worker after another asks for it, among many that wait.
func BenchmarkLease(b *testing.B) {
	l := ledger.New(newPool(b, newURI(b)))
	b.ReportAllocs()
	left := 0
	for round := 0; b.Loop(); left-- {
		if left == 0 {
			b.StopTimer()
			left = 10000
			fill(b, l, fmt.Sprint(round), left)
			round++
			b.StartTimer()
		}
		leases, err := l.Lease(b.Context(), prover(a), 1, time.Hour)
		if err != nil || len(leases) != 1 {
			b.Fatal(len(leases), err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "leases/s")
}

// leased returns so many leases of fresh jobs.
func leased(b *testing.B, l *ledger.Ledger, prefix string, n int) []ledger.Lease {
	b.Helper()
	fill(b, l, prefix, n)
	leases, err := l.Lease(b.Context(), prover(a), n, time.Hour)
	if err != nil || len(leases) != n {
		b.Fatal(len(leases), err)
	}
	return leases
}

// BenchmarkAccept accepts one proof of 256 bytes at a time.
func BenchmarkAccept(b *testing.B) {
	l := ledger.New(newPool(b, newURI(b)))
	b.ReportAllocs()
	var leases []ledger.Lease
	for round := 0; b.Loop(); leases = leases[1:] {
		if len(leases) == 0 {
			b.StopTimer()
			leases = leased(b, l, fmt.Sprint(round), 1000)
			round++
			b.StartTimer()
		}
		p := proofOf(leases[0], a, ledger.Valid)
		p.Proof = make([]byte, 256)
		if got, err := l.Accept(b.Context(), p); err != nil || got.Outcome != ledger.Accepted {
			b.Fatal(got, err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "accepts/s")
}

// BenchmarkCarry takes 250 proofs at a time from a spool to the ledger, which is what comes after the database was away.
func BenchmarkCarry(b *testing.B) {
	const batch = 250
	l := ledger.New(newPool(b, newURI(b)))
	s := openSpool(b, b.TempDir(), ledger.SpoolOptions{})
	defer closeSpool(b, s)
	courier := ledger.NewCourier(l, s, ledger.CourierOptions{})
	b.ReportAllocs()
	for round := 0; b.Loop(); round++ {
		b.StopTimer()
		var entries []ledger.Entry
		for _, lease := range leased(b, l, fmt.Sprint(round), batch) {
			p := proofOf(lease, a, ledger.Valid)
			p.Proof = make([]byte, 256)
			entries = append(entries, ledger.Entry{Proof: &p})
		}
		if err := s.Append(entries...); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if n, err := courier.Carry(b.Context()); n != batch || err != nil {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.N)*batch/b.Elapsed().Seconds(), "accepts/s")
}

// BenchmarkAppend keeps one proof of 32 KiB, as Kimchi's are, at a time; the disk's sync is in it.
func BenchmarkAppend(b *testing.B) {
	s := openSpool(b, b.TempDir(), ledger.SpoolOptions{})
	defer closeSpool(b, s)
	p := proofOf(ledger.Lease{Job: job("j"), Epoch: 1}, a, "")
	p.Proof = make([]byte, 32<<10)
	b.ReportAllocs()
	for seq := uint64(1); b.Loop(); seq++ {
		if err := s.Append(ledger.Entry{Proof: &p}); err != nil {
			b.Fatal(err)
		}
		if err := s.Forget(seq); err != nil {
			b.Fatal(err)
		}
	}
}
