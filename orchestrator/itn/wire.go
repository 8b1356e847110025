package itn

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// wireAuth is ItnAuth (itn-graphql, section 3.2).
type wireAuth struct {
	ServerUUID     string  `json:"serverUuid"`
	SequenceNumber string  `json:"signerSequenceNumber"`
	Libp2pPort     string  `json:"libp2pPort"`
	PeerID         *string `json:"peerId"`
	BlockProducer  *bool   `json:"isBlockProducer"`
	CommitID       string  `json:"commitId"`
}

func (w wireAuth) identity() (Identity, error) {
	if !isServerUUID(w.ServerUUID) {
		return Identity{}, errors.New("serverUuid is no UUID")
	}
	if w.BlockProducer == nil {
		return Identity{}, errors.New("isBlockProducer is missing")
	}
	number, err := strconv.ParseUint(w.SequenceNumber, 10, 16)
	if err != nil {
		return Identity{}, fmt.Errorf("signerSequenceNumber: %w", err)
	}
	port, err := strconv.ParseUint(w.Libp2pPort, 10, 16)
	if err != nil {
		return Identity{}, fmt.Errorf("libp2pPort: %w", err)
	}
	identity := Identity{
		ServerUUID:     w.ServerUUID,
		SequenceNumber: uint16(number),
		Libp2pPort:     uint16(port),
		BlockProducer:  *w.BlockProducer,
		CommitID:       w.CommitID,
	}
	if w.PeerID != nil {
		identity.PeerID = *w.PeerID
	}
	return identity, nil
}

// wireLog is an ItnLog (itn-graphql, section 3.2).
type wireLog struct {
	ID        int            `json:"id"`
	Timestamp string         `json:"timestamp"`
	Message   string         `json:"message"`
	Process   *string        `json:"process"`
	Metadata  []LogMetadatum `json:"metadata"`
}

// logTimestamp is the form of ItnLog.timestamp.
const logTimestamp = "2006-01-02 15:04:05.000000Z"

// logsOf reads an answer to internalLogs. Such answers are many and long, so it goes through the JSON once.
func logsOf(data json.RawMessage) ([]Log, error) {
	var answer struct {
		InternalLogs []wireLog `json:"internalLogs"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, err
	}
	if answer.InternalLogs == nil {
		return nil, errors.New("field internalLogs is missing or null")
	}
	logs := make([]Log, len(answer.InternalLogs))
	for i, entry := range answer.InternalLogs {
		timestamp, err := time.Parse(logTimestamp, entry.Timestamp)
		if err != nil {
			return nil, fmt.Errorf("log entry %d: %w", entry.ID, err)
		}
		logs[i] = Log{ID: entry.ID, Timestamp: timestamp, Message: entry.Message}
		if entry.Process != nil {
			logs[i].Process = *entry.Process
		}
		if len(entry.Metadata) > 0 {
			logs[i].Metadata = entry.Metadata
		}
	}
	return logs, nil
}

// wireCreatedAccounts is ItnCreatedAccounts (itn-graphql, section 4.8).
type wireCreatedAccounts struct {
	Handle   string `json:"handle"`
	Accounts []struct {
		PublicKey  string `json:"publicKey"`
		PrivateKey string `json:"privateKey"`
	} `json:"accounts"`
}

func (w wireCreatedAccounts) accounts() CreatedAccounts {
	created := CreatedAccounts{Handle: w.Handle}
	for _, account := range w.Accounts {
		created.Accounts = append(created.Accounts, Account{account.PublicKey, NewPrivateKey(account.PrivateKey)})
	}
	return created
}

// The input objects. Amounts are decimal strings (itn-graphql, section 3.1), and every nullable field is there.

func wirePayments(details PaymentsDetails) map[string]any {
	return map[string]any{
		"senders":     revealed(details.Senders),
		"receiver":    details.Receiver,
		"amount":      decimal(details.Amount),
		"minFee":      decimal(details.MinFee),
		"maxFee":      decimal(details.MaxFee),
		"memoPrefix":  details.MemoPrefix,
		"tps":         details.TPS,
		"durationMin": details.DurationMin,
	}
}

func wireZkappCommands(details ZkappCommandsDetails) map[string]any {
	return map[string]any{
		"feePayers":          revealed(details.FeePayers),
		"numZkappsToDeploy":  details.NumZkappsToDeploy,
		"numNewAccounts":     details.NumNewAccounts,
		"tps":                details.TPS,
		"durationMin":        details.DurationMin,
		"memoPrefix":         details.MemoPrefix,
		"noPrecondition":     details.NoPrecondition,
		"minBalanceChange":   decimal(details.MinBalanceChange),
		"maxBalanceChange":   decimal(details.MaxBalanceChange),
		"minNewZkappBalance": decimal(details.MinNewZkappBalance),
		"maxNewZkappBalance": decimal(details.MaxNewZkappBalance),
		"initBalance":        decimal(details.InitBalance),
		"minFee":             decimal(details.MinFee),
		"maxFee":             decimal(details.MaxFee),
		"deploymentFee":      decimal(details.DeploymentFee),
		"accountQueueSize":   details.AccountQueueSize,
		"maxCost":            details.MaxCost,
		"maxAccountUpdates":  details.MaxAccountUpdates,
	}
}

func wireCreateAccounts(details CreateAccountsDetails) map[string]any {
	return map[string]any{
		"amount":      decimal(details.Amount),
		"fee":         decimal(details.Fee),
		"numAccounts": details.NumAccounts,
		"feePayer":    details.FeePayer.Base58(),
	}
}

func wireGating(update GatingUpdate) map[string]any {
	return map[string]any{
		"trustedPeers":    wirePeers(update.TrustedPeers),
		"bannedPeers":     wirePeers(update.BannedPeers),
		"isolate":         update.Isolate,
		"cleanAddedPeers": update.CleanAddedPeers,
		"addedPeers":      wirePeers(update.AddedPeers),
	}
}

func wirePeers(peers []NetworkPeer) []map[string]any {
	wire := make([]map[string]any, len(peers)) // an empty list, never null
	for i, peer := range peers {
		wire[i] = map[string]any{"peerId": peer.PeerID, "host": peer.Host, "libp2pPort": peer.Libp2pPort}
	}
	return wire
}

func revealed(keys []PrivateKey) []string {
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = key.Base58()
	}
	return texts
}
