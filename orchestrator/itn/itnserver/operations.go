package itnserver

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"provingground/orchestrator/itn"
)

// logTimestamp is the form of ItnLog.timestamp (itn-graphql, section 3.2).
const logTimestamp = "2006-01-02 15:04:05.000000Z"

// minStopDelay is both the least and the default delay of stopDaemon, in seconds (itn-graphql, section 4.5).
const minStopDelay = 5

// resolve runs one root field with coerced arguments: the daemon's checks that need no node state, then the Resolver.
func (s *Server) resolve(ctx context.Context, operation string, arguments values) (any, error) {
	node := s.resolver
	input := value[values](arguments, "input")
	handle := optional[string](arguments, "handle")
	if s.older {
		handle = nil // an unknown argument is ignored
	}
	switch operation {
	case "auth":
		return s.authObject(node.Auth(ctx)), nil
	case "slotsWon":
		slots, err := node.SlotsWon(ctx)
		return nonNil(slots), err
	case "internalLogs":
		logs, err := node.InternalLogs(ctx, value[int](arguments, "startLogId"))
		return logObjects(logs), err
	case "flushInternalLogs":
		deleted, err := node.FlushInternalLogs(ctx, value[int](arguments, "endLogId"))
		return deletedText(deleted), err
	case "schedulePayments":
		details := paymentsDetails(input)
		if refusal := refusePayments(details); refusal != "" {
			return nil, refusal
		}
		return node.SchedulePayments(ctx, details, handle)
	case "scheduleZkappCommands":
		details := zkappCommandsDetails(input)
		if len(details.FeePayers) == 0 {
			return nil, Refusal("Empty list of fee payers")
		}
		return node.ScheduleZkappCommands(ctx, details, handle)
	case "stopScheduledTransactions":
		return s.stopScheduledTransactions(ctx, value[string](arguments, "handle"))
	case "updateGating":
		update := gatingUpdate(input)
		if !hostsAreLiterals(update) {
			return nil, Refusal("Invalid format for NetworkPeer.host")
		}
		return "success", node.UpdateGating(ctx, update)
	case "stopDaemon":
		return s.stopDaemon(ctx, optional[int](arguments, "delaySeconds"), value[bool](arguments, "cleanConfig"))
	case "zkAppCommandLimit":
		return node.ZkAppCommandLimit(ctx, optional[int](arguments, "limit"))
	case "scheduledTransactions":
		handles, err := node.ScheduledTransactions(ctx)
		return nonNil(handles), err
	case "createAccounts":
		created, err := node.CreateAccounts(ctx, createAccountsDetails(input), handle)
		return createdAccountsObject(created), err
	}
	return nil, fmt.Errorf("itnserver: the schema has an operation %q that nobody resolves", operation)
}

// refusePayments makes checks 4 to 6 of itn-graphql, section 4.1.
func refusePayments(details itn.PaymentsDetails) Refusal {
	switch {
	case len(details.Senders) == 0:
		return "Empty list of senders"
	case len(details.MemoPrefix) > 32:
		return "Memo too long, limited to 32 characters"
	case details.MaxFee < details.MinFee:
		return "Maximum fee less than mininum fee"
	}
	return ""
}

func (s *Server) stopScheduledTransactions(ctx context.Context, handle string) (any, error) {
	if !hasUUIDShape(handle) {
		return nil, Refusal("Not a valid scheduled transactions handle: " + handle)
	}
	if err := s.resolver.StopScheduledTransactions(ctx, handle); err != nil {
		return nil, err
	}
	return "Requesting stop of scheduled transactions with handle " + handle, nil
}

func (s *Server) stopDaemon(ctx context.Context, delaySeconds *int, cleanConfig bool) (any, error) {
	delay := minStopDelay
	if delaySeconds != nil {
		delay = *delaySeconds
	}
	if delay < minStopDelay {
		return nil, Refusal(fmt.Sprintf("Delay of %d seconds is less than minimum %d", delay, minStopDelay))
	}
	configDir, err := s.resolver.StopDaemon(ctx, time.Duration(delay)*time.Second, cleanConfig)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("Stopping daemon in %d seconds", delay)
	if cleanConfig {
		text += ", will clean configuration directory " + configDir
	}
	return text, nil
}

func hostsAreLiterals(update itn.GatingUpdate) bool {
	for _, peers := range [][]itn.NetworkPeer{update.TrustedPeers, update.BannedPeers, update.AddedPeers} {
		for _, peer := range peers {
			if net.ParseIP(peer.Host) == nil {
				return false
			}
		}
	}
	return true
}

// deletedText has an s only above one (itn-graphql, section 6.1).
func deletedText(deleted int) string {
	text := fmt.Sprintf("Deleted %d log", deleted)
	if deleted > 1 {
		text += "s"
	}
	return text
}

// nonNil makes an empty list of a nil one, which JSON would show as null.
func nonNil[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

func (s *Server) authObject(node Auth) object {
	return object{"ItnAuth", func(name string) (any, bool) {
		switch name {
		case "serverUuid":
			return s.uuid, true
		case "signerSequenceNumber":
			return strconv.Itoa(int(s.reportedNumber())), true
		case "libp2pPort":
			return strconv.Itoa(int(node.Libp2pPort)), true
		case "peerId":
			if node.PeerID == "" && !s.older {
				return nil, true
			}
			return node.PeerID, true
		case "isBlockProducer":
			return node.BlockProducer, true
		case "commitId":
			return node.CommitID, true
		}
		return nil, false
	}}
}

func logObjects(logs []itn.Log) []object {
	objects := make([]object, len(logs))
	for i, log := range logs {
		objects[i] = object{"ItnLog", func(name string) (any, bool) {
			switch name {
			case "id":
				return log.ID, true
			case "timestamp":
				return log.Timestamp.UTC().Format(logTimestamp), true
			case "message":
				return log.Message, true
			case "metadata":
				return metadataObjects(log.Metadata), true
			case "process":
				if log.Process == "" {
					return nil, true
				}
				return log.Process, true
			}
			return nil, false
		}}
	}
	return objects
}

func metadataObjects(metadata []itn.LogMetadatum) []object {
	objects := make([]object, len(metadata))
	for i, metadatum := range metadata {
		objects[i] = object{"logMetadatum", func(name string) (any, bool) {
			switch name {
			case "item":
				return metadatum.Item, true
			case "value":
				return metadatum.Value, true
			}
			return nil, false
		}}
	}
	return objects
}

func createdAccountsObject(created itn.CreatedAccounts) object {
	return object{"ItnCreatedAccounts", func(name string) (any, bool) {
		switch name {
		case "handle":
			return created.Handle, true
		case "accounts":
			accounts := make([]object, len(created.Accounts))
			for i, account := range created.Accounts {
				accounts[i] = accountObject(account)
			}
			return accounts, true
		}
		return nil, false
	}}
}

func accountObject(account itn.Account) object {
	return object{"ItnCreatedAccount", func(name string) (any, bool) {
		switch name {
		case "publicKey":
			return account.PublicKey, true
		case "privateKey":
			return account.PrivateKey.Base58(), true
		}
		return nil, false
	}}
}

func privateKeys(input values, name string) []itn.PrivateKey {
	texts := list[string](input, name)
	keys := make([]itn.PrivateKey, len(texts))
	for i, text := range texts {
		keys[i] = itn.NewPrivateKey(text)
	}
	return keys
}

func paymentsDetails(input values) itn.PaymentsDetails {
	return itn.PaymentsDetails{
		Senders:     privateKeys(input, "senders"),
		Receiver:    value[string](input, "receiver"),
		Amount:      value[uint64](input, "amount"),
		MinFee:      value[uint64](input, "minFee"),
		MaxFee:      value[uint64](input, "maxFee"),
		MemoPrefix:  value[string](input, "memoPrefix"),
		TPS:         value[float64](input, "tps"),
		DurationMin: value[int](input, "durationMin"),
	}
}

func zkappCommandsDetails(input values) itn.ZkappCommandsDetails {
	return itn.ZkappCommandsDetails{
		FeePayers:          privateKeys(input, "feePayers"),
		NumZkappsToDeploy:  value[int](input, "numZkappsToDeploy"),
		NumNewAccounts:     value[int](input, "numNewAccounts"),
		TPS:                value[float64](input, "tps"),
		DurationMin:        value[int](input, "durationMin"),
		MemoPrefix:         value[string](input, "memoPrefix"),
		NoPrecondition:     value[bool](input, "noPrecondition"),
		MinBalanceChange:   value[uint64](input, "minBalanceChange"),
		MaxBalanceChange:   value[uint64](input, "maxBalanceChange"),
		MinNewZkappBalance: value[uint64](input, "minNewZkappBalance"),
		MaxNewZkappBalance: value[uint64](input, "maxNewZkappBalance"),
		InitBalance:        value[uint64](input, "initBalance"),
		MinFee:             value[uint64](input, "minFee"),
		MaxFee:             value[uint64](input, "maxFee"),
		DeploymentFee:      value[uint64](input, "deploymentFee"),
		AccountQueueSize:   value[int](input, "accountQueueSize"),
		MaxCost:            value[bool](input, "maxCost"),
		MaxAccountUpdates:  optional[int](input, "maxAccountUpdates"),
	}
}

func createAccountsDetails(input values) itn.CreateAccountsDetails {
	return itn.CreateAccountsDetails{
		Amount:      value[uint64](input, "amount"),
		Fee:         value[uint64](input, "fee"),
		NumAccounts: value[int](input, "numAccounts"),
		FeePayer:    itn.NewPrivateKey(value[string](input, "feePayer")),
	}
}

func gatingUpdate(input values) itn.GatingUpdate {
	return itn.GatingUpdate{
		TrustedPeers:    networkPeers(input, "trustedPeers"),
		BannedPeers:     networkPeers(input, "bannedPeers"),
		Isolate:         value[bool](input, "isolate"),
		CleanAddedPeers: value[bool](input, "cleanAddedPeers"),
		AddedPeers:      networkPeers(input, "addedPeers"),
	}
}

func networkPeers(input values, name string) []itn.NetworkPeer {
	given := list[values](input, name)
	peers := make([]itn.NetworkPeer, len(given))
	for i, peer := range given {
		peers[i] = itn.NetworkPeer{
			PeerID:     value[string](peer, "peerId"),
			Host:       value[string](peer, "host"),
			Libp2pPort: value[int](peer, "libp2pPort"),
		}
	}
	return peers
}
