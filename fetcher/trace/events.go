package trace

import (
	"encoding/json"
	"strings"
)

// gossipOf splits the name of a pool event into resource and action; other checkpoints have neither. Actions are open.
func gossipOf(checkpoint string) (Resource, string) {
	for _, resource := range [...]Resource{SnarkWorkEvent, TransactionDiffEvent} {
		action, ok := strings.CutPrefix(checkpoint, string(resource)+"_")
		if ok && action != "" {
			return resource, action
		}
	}
	return "", ""
}

func snarkWorkOf(metadata []byte) (*SnarkWork, string) {
	var work SnarkWork
	var problem string
	for key, value := range members(metadata) {
		switch key {
		case "work_ids":
			work.IDs = workIDsOf(value)
		case "fee":
			work.Fee = looseText(value)
		case "prover":
			work.Prover = looseText(value)
		case "sender":
			work.Sender = looseText(value)
		case "reason":
			work.Reason = looseText(value)
		case "txs":
			var ok bool
			if work.Txs, ok = poolTransactionsOf(value, 1); !ok {
				problem = "txs is not a list of type, signature and memo"
			}
		}
	}
	if work.IDs == nil {
		return nil, "work_ids is not a list of one or two numbers"
	}
	return &work, problem
}

// workIDsOf reads one or two ids, which daemons draw from 0 to 2³⁰; nil for anything else.
func workIDsOf(value []byte) []int64 {
	ids := make([]int64, 0, 2)
	for element := range elements(value) {
		id, ok := integerOf(element)
		if !ok || len(ids) == 2 {
			return nil
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil
	}
	return ids
}

func transactionDiffOf(metadata []byte) (*TransactionDiff, string) {
	var diff TransactionDiff
	ok := false
	for key, value := range members(metadata) {
		switch key {
		case "diff":
			diff.Raw = value
			diff.Diff, ok = poolTransactionsOf(value, 3)
		case "sender":
			diff.Sender = looseText(value)
		case "reason":
			diff.Reason = looseText(value)
		}
	}
	if !ok {
		return nil, "diff is not a list of type, signature and memo"
	}
	return &diff, ""
}

// poolTransactionsOf reads a list of [type, signature, memo]. An element has at least so many texts: the protocol's own transactions, a
// coinbase or fee transfer among the jobs of a SNARK work, have no signature and no memo.
func poolTransactionsOf(value []byte, least int) ([]PoolTransaction, bool) {
	if len(value) == 0 || value[0] != '[' {
		return nil, false
	}
	transactions := []PoolTransaction{}
	for element := range elements(value) {
		texts := make([]string, 0, 3)
		for field := range elements(element) {
			text, isText := textOf(field)
			if !isText || len(texts) == 3 {
				return nil, false
			}
			texts = append(texts, text)
		}
		if len(texts) < least {
			return nil, false
		}
		transaction := PoolTransaction{Type: texts[0]}
		if len(texts) == 3 {
			transaction.Signature, transaction.Memo = texts[1], texts[2]
		}
		transactions = append(transactions, transaction)
	}
	return transactions, true
}

// looseText takes text as it is and any other value but null as its JSON: fees and reasons are numbers or lists in some daemons.
func looseText(value []byte) string {
	if text, isText := textOf(value); isText {
		return text
	}
	if string(value) == "null" {
		return ""
	}
	return string(value)
}

// giveTransactions hands out a block's transactions, once.
func (r *Reader) giveTransactions(out *batch, at place, t *traceState) {
	given := BlockTransactions{Trace: t.Number, Timed: t.Timed, Received: t.Started}
	bad := false
	for element := range elements(t.Transactions) {
		transaction, ok := blockTransactionOf(element)
		if !ok {
			bad = true
			continue
		}
		given.Transactions = append(given.Transactions, transaction)
	}
	t.Transactions = nil
	if bad {
		out.problem(at, "transactions of block %s: not all could be read", t.Block)
	}
	out.Transactions = append(out.Transactions, given)
}

// blockTransactionOf reads [type, signature, memo, status], [type, amount, status] or [type, status].
func blockTransactionOf(value []byte) (BlockTransaction, bool) {
	fields := make([]json.RawMessage, 0, 4)
	for field := range elements(value) {
		if len(fields) == 4 {
			return BlockTransaction{}, false
		}
		fields = append(fields, field)
	}
	if len(fields) < 2 {
		return BlockTransaction{}, false
	}
	transaction := BlockTransaction{Details: fields[len(fields)-1]}
	for status := range elements(transaction.Details) {
		transaction.Status, _ = textOf(status)
		break
	}
	texts := make([]string, len(fields)-1)
	for i := range texts {
		var isText bool
		if texts[i], isText = textOf(fields[i]); !isText {
			return BlockTransaction{}, false
		}
	}
	transaction.Type = texts[0]
	switch len(texts) {
	case 2:
		transaction.Amount = texts[1]
	case 3:
		transaction.Signature, transaction.Memo = texts[1], texts[2]
	}
	return transaction, transaction.Type != "" && transaction.Status != "" && (len(texts) < 3 || transaction.Signature != "")
}

// interruption reads the keys that come together with interrupt_get_completed_work_at.
func (r *Reader) interruption(out *batch, at place, t *traceState, metadata []byte) {
	given := Interruption{Trace: t.Number, Seq: at.seq}
	hasPlace := false
	for key, value := range members(metadata) {
		switch key {
		case "interrupt_get_completed_work_at":
			given.At, hasPlace = integerOf(value)
		case "interrupt_get_completed_work_reason":
			given.Reason = looseText(value)
		case "interrupt_get_completed_work_ids":
			given.IDs = workIDsOf(value)
		}
	}
	if !hasPlace || given.IDs == nil {
		out.problem(at, "interruption of block %s: place or work ids cannot be read", t.Block)
		return
	}
	out.Interruptions = append(out.Interruptions, given)
}
