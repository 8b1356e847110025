package gnark

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	native "github.com/consensys/gnark-crypto/ecc/bn254/fr/mimc"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
	"github.com/consensys/gnark/std/hash/mimc"
)

// Kind is the kind of these proofs in worker.Hello and in the ledger.
const Kind = "gnark-mimc"

// usualLinks makes a circuit of about 21,000 constraints.
const usualLinks = 64

// chain is the circuit: Output is what so many hashes make of Input.
type chain struct {
	Input  frontend.Variable `gnark:",public"`
	Output frontend.Variable `gnark:",public"`
	links  int
}

func (o Options) links() int {
	if o.Links == 0 {
		return usualLinks
	}
	return o.Links
}

func (o Options) circuit() string { return fmt.Sprintf("mimc-chain-%d", o.links()) }

// Define is called by gnark to lay out the constraints.
func (c *chain) Define(api frontend.API) error {
	hash, err := mimc.NewMiMC(api)
	if err != nil {
		return err
	}
	link := c.Input
	for range c.links {
		hash.Reset()
		hash.Write(link)
		link = hash.Sum()
	}
	api.AssertIsEqual(link, c.Output)
	return nil
}

// compile lays out the circuit. The same release of gnark always gives the same constraints.
func (o Options) compile() (*cs.R1CS, error) {
	compiled, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder, &chain{links: o.links()})
	if err != nil {
		return nil, fmt.Errorf("compile circuit %s: %w", o.circuit(), err)
	}
	system, ok := compiled.(*cs.R1CS)
	if !ok {
		return nil, fmt.Errorf("compile circuit %s: gnark gave a %T", o.circuit(), compiled)
	}
	return system, nil
}

// walk computes the end of the chain.
func (o Options) walk(input fr.Element) (fr.Element, error) {
	hash := native.NewMiMC()
	link := input
	for range o.links() {
		hash.Reset()
		block := link.Bytes()
		if _, err := hash.Write(block[:]); err != nil {
			return fr.Element{}, fmt.Errorf("hash: %w", err)
		}
		link.SetBytes(hash.Sum(nil))
	}
	return link, nil
}

// statement is the JSON that a job carries.
type statement struct {
	Circuit string `json:"circuit"`
	Input   string `json:"input"` // a field element, 32 bytes, big endian, lower-case hex
}

// Statement returns the statement of a job with a number in a named series: always the same for the same two, and different for any others.
func (o Options) Statement(series string, number uint64) json.RawMessage {
	hash := sha256.New()
	hash.Write([]byte("provingground gnark statement\x00"))
	hash.Write([]byte(series))
	hash.Write(binary.BigEndian.AppendUint64([]byte{0}, number))
	sum := hash.Sum(nil)
	sum[0] = 0 // below the field's modulus without a reduction, so that no two sums meet
	return json.RawMessage(fmt.Sprintf(`{"circuit":%q,"input":%q}`, o.circuit(), hex.EncodeToString(sum)))
}

func (o Options) parseStatement(text json.RawMessage) (fr.Element, error) {
	var s statement
	if err := json.Unmarshal(text, &s); err != nil {
		return fr.Element{}, fmt.Errorf("read the statement: %w", err)
	}
	if s.Circuit != o.circuit() {
		return fr.Element{}, fmt.Errorf("read the statement: circuit %q, want %q: send this job to a worker of its kind", s.Circuit, o.circuit())
	}
	content, err := hex.DecodeString(s.Input)
	if err != nil {
		return fr.Element{}, fmt.Errorf("read the statement: input: %w", err)
	}
	input, err := element(content)
	if err != nil || hex.EncodeToString(content) != s.Input {
		return fr.Element{}, errors.New("read the statement: input is not a field element in 32 bytes of lower-case hex")
	}
	return input, nil
}

// element reads a field element in its one canonical form.
func element(content []byte) (fr.Element, error) {
	var e fr.Element
	return e, e.SetBytesCanonical(content)
}
