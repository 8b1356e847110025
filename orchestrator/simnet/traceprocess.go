package simnet

import (
	"strconv"
	"strings"
	"time"

	"provingground/orchestrator/itn"
)

// This file spells out what a daemon's prover and verifier trace: one group of records for each call, which begins and ends with the names
// of internal-trace, section 3.1, and holds those of section 3.3 in between.

// The names of the child processes in internal logs.
const (
	processProver   = "prover"
	processVerifier = "verifier"
)

// childCall begins a call in a child process.
func childCall(t traced) []itn.LogMetadatum {
	return []itn.LogMetadatum{datum("current_call_id", t.child)}
}

// verifierSteps is one call of the verifier.
func verifierSteps(name string) []traceStep {
	return []traceStep{
		{data: childCall},
		{name: name, took: 60 * time.Microsecond},
		{name: "Verify_heterogenous", took: 25 * time.Microsecond},
		{name: "Compute_plonks_and_chals", took: 4100 * time.Microsecond},
		{name: "Compute_plonks_and_chals_done", took: 20 * time.Microsecond},
		{name: "Accumulator_check", took: 38 * time.Millisecond},
		{name: "Accumulator_check_done", took: 15 * time.Microsecond},
		{name: "Compute_batch_verify_inputs", took: 2600 * time.Microsecond},
		{name: "Compute_batch_verify_inputs_done", took: 12 * time.Microsecond},
		{name: "Dlog_check_batch_verify", took: 30 * time.Microsecond},
		{name: "Batch_verify_backend_convert_inputs", took: 900 * time.Microsecond},
		{name: "Batch_verify_backend_convert_inputs_done", took: 9 * time.Microsecond},
		{name: "Batch_verify_backend", took: 190 * time.Millisecond},
		{name: "Batch_verify_backend_done", took: 11 * time.Microsecond},
		{name: "Dlog_check_batch_verify_done", took: 16 * time.Microsecond},
		{name: name + "_done"},
	}
}

// proverSteps is one call of the prover, for a block.
func proverSteps() []traceStep {
	return []traceStep{
		{data: childCall},
		{name: "Prover_extend_blockchain", took: 900 * time.Microsecond},
		{name: "Pickles_step_proof", took: 1200 * time.Microsecond},
		{name: "Step_compute_prev_proof_parts", took: 160 * time.Millisecond},
		{name: "Step_compute_prev_proof_parts_done", took: 30 * time.Microsecond},
		{name: "Step_compute_bulletproof_challenges", took: 45 * time.Millisecond},
		{name: "Step_compute_bulletproof_challenges_done", took: 25 * time.Microsecond},
		{name: "Step_generate_witness_conv", took: 420 * time.Millisecond},
		{name: "Backend_tick_proof_create_async", took: 1900 * time.Millisecond}, {data: kimchiSteps("pasta_fp_plonk_proof_create")},
		{name: "Backend_tick_proof_create_async_done", took: 40 * time.Microsecond},
		{name: "Pickles_step_proof_done", took: 90 * time.Microsecond},
		{name: "Pickles_wrap_proof", took: 700 * time.Microsecond},
		{name: "Wrap_compute_deferred_values", took: 12 * time.Millisecond},
		{name: "Wrap_compute_deferred_values_done", took: 20 * time.Microsecond},
		{name: "Wrap_generate_witness_conv", took: 30 * time.Millisecond},
		{name: "Wrap_verifier_incrementally_verify_proof", took: 150 * time.Millisecond},
		{name: "Wrap_verifier_incrementally_verify_proof_done", took: 35 * time.Millisecond},
		{name: "Backend_tock_proof_create_async", took: 1300 * time.Millisecond}, {data: kimchiSteps("pasta_fq_plonk_proof_create")},
		{name: "Backend_tock_proof_create_async_done", took: 45 * time.Microsecond},
		{name: "Pickles_wrap_proof_done", took: 300 * time.Microsecond},
		{name: "Prover_extend_blockchain_done"},
	}
}

// kimchiSteps is the metadata of a proof's creation: the lines that the backend traced, one text, names without their prefix Kimchi_.
func kimchiSteps(creation string) func(traced) []itn.LogMetadatum {
	names := []string{
		creation, "create_recursive", "pad_witness", "set_up_fq_sponge", "commit_to_witness_columns", "z_permutation_aggregation_polynomial",
		"eval_witness_polynomials_over_domains", "compute_index_evals", "compute_quotient_poly", "lagrange_basis_eval_zeta_poly",
		"lagrange_basis_eval_zeta_omega_poly", "chunk_eval_zeta_omega_poly", "compute_ft_poly", "ft_eval_zeta_omega", "build_polynomials",
		"create_aggregated_evaluation_proof", "create_recursive_done",
	}
	return func(t traced) []itn.LogMetadatum {
		var lines strings.Builder
		for i, name := range names {
			at := t.at.Add(t.until.Sub(t.at) * time.Duration(i+1) / time.Duration(len(names)+1))
			lines.WriteString(`["` + name + `",` + strconv.FormatFloat(float64(at.UnixMicro())/1e6, 'f', 6, 64) + "]\n")
		}
		return []itn.LogMetadatum{datum("metadata", map[string]string{"traces": lines.String()})}
	}
}
