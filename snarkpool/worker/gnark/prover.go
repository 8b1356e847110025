//go:build linux

package gnark

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/backend/groth16"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/logger"

	"provingground/snarkpool/worker"
	"provingground/snarkpool/worker/verify"
)

// Prover proves statements of this kind. It is safe for concurrent use, but one proof already uses all threads that GOMAXPROCS allows.
type Prover struct {
	options Options
	system  *cs.R1CS
	key     groth16.ProvingKey
	digest  string
}

// NewProver loads the proving key, made first where [EnsureKeys] may.
func NewProver(ctx context.Context, options Options) (*Prover, error) {
	if _, err := EnsureKeys(ctx, options); err != nil {
		return nil, err
	}
	known, err := options.readDigests()
	if err != nil {
		return nil, err
	}
	system, err := options.compile()
	if err != nil {
		return nil, err
	}
	key := groth16.NewProvingKey(ecc.BN254)
	// The digest vouches for the points, so they need not be checked one by one.
	if err := options.readKey(provingFile, known.ProvingKey, key.UnsafeReadFrom); err != nil {
		return nil, err
	}
	return &Prover{options: options, system: system, key: key, digest: known.VerifyingKey}, nil
}

// VerifyingKey returns the digest of the verifying key that this prover's proofs are for.
func (p *Prover) VerifyingKey() string { return p.digest }

// Prove returns the chain's end, 32 bytes, followed by the proof. It looks at ctx before it begins; a proof that has begun is finished.
func (p *Prover) Prove(ctx context.Context, text json.RawMessage) ([]byte, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	input, err := p.options.parseStatement(text)
	if err != nil {
		return nil, err
	}
	output, err := p.options.walk(input)
	if err != nil {
		return nil, err
	}
	witness, err := frontend.NewWitness(&chain{Input: input, Output: output}, ecc.BN254.ScalarField())
	if err != nil {
		return nil, fmt.Errorf("make the witness: %w", err)
	}
	proof, err := groth16.Prove(p.system, p.key, witness)
	if err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	end := output.Bytes()
	buffer := bytes.NewBuffer(end[:])
	if _, err := proof.WriteTo(buffer); err != nil {
		return nil, fmt.Errorf("write the proof: %w", err)
	}
	return buffer.Bytes(), nil
}

// Verifier checks proofs of this kind. It is safe for concurrent use.
type Verifier struct {
	options Options
	key     groth16.VerifyingKey
	digest  string
}

// NewVerifier loads the verifying key, made first where [EnsureKeys] may.
func NewVerifier(ctx context.Context, options Options) (*Verifier, error) {
	digest, err := EnsureKeys(ctx, options)
	if err != nil {
		return nil, err
	}
	key := groth16.NewVerifyingKey(ecc.BN254)
	if err := options.readKey(verifyingFile, digest, key.ReadFrom); err != nil {
		return nil, err
	}
	return &Verifier{options: options, key: key, digest: digest}, nil
}

// VerifyingKey returns the digest of the key under which this verifier checks.
func (v *Verifier) VerifyingKey() string { return v.digest }

// Verify returns nil if the proof holds for the statement, and an error that wraps [verify.ErrRefused] if it does not; a statement that cannot
// be read is neither.
func (v *Verifier) Verify(_ context.Context, text json.RawMessage, content []byte) error {
	input, err := v.options.parseStatement(text)
	if err != nil {
		return err
	}
	refused := func(format string, arguments ...any) error {
		return fmt.Errorf("%w: %w", verify.ErrRefused, fmt.Errorf(format, arguments...))
	}
	if len(content) < fr.Bytes {
		return refused("it has %d bytes", len(content))
	}
	output, err := element(content[:fr.Bytes])
	if err != nil {
		return refused("read the chain's end: %w", err)
	}
	proof := groth16.NewProof(ecc.BN254)
	n, err := proof.ReadFrom(bytes.NewReader(content[fr.Bytes:]))
	if err != nil {
		return refused("read the proof: %w", err)
	}
	if int(n) != len(content)-fr.Bytes {
		return refused("%d bytes follow the proof", len(content)-fr.Bytes-int(n))
	}
	witness, err := frontend.NewWitness(&chain{Input: input, Output: output}, ecc.BN254.ScalarField(), frontend.PublicOnly())
	if err != nil {
		return fmt.Errorf("make the public witness: %w", err)
	}
	if err := groth16.Verify(proof, v.key, witness); err != nil {
		return refused("verify: %w", err)
	}
	return nil
}

// ProverMain is the fed worker process: in and out are the descriptors of [worker.Inherited]. It owns in. It uses as many threads as the
// process may, which the agent bounds by CPU affinity or GOMAXPROCS. It silences gnark's own logger, which is the process's.
func ProverMain(ctx context.Context, in io.ReadCloser, out io.Writer, options Options) error {
	logger.Disable()
	prover, err := NewProver(ctx, options)
	if err != nil {
		_ = in.Close() // err says why the worker ends
		return err
	}
	hello := worker.Hello{Protocol: worker.Protocol, Kind: Kind, VerifyingKey: prover.digest, Threads: runtime.GOMAXPROCS(0), PID: os.Getpid()}
	return worker.Serve(ctx, in, out, hello, prover)
}

// VerifierMain is the verifier process: questions on in, answers on out. It owns in. It silences gnark's own logger, which is the process's.
func VerifierMain(ctx context.Context, in io.ReadCloser, out io.Writer, options Options) error {
	logger.Disable()
	verifier, err := NewVerifier(ctx, options)
	if err != nil {
		_ = in.Close() // err says why the verifier ends
		return err
	}
	return verify.Serve(ctx, in, out, verify.About{Kind: Kind, VerifyingKey: verifier.digest}, verifier)
}
