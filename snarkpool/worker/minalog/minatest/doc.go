// Package minatest behaves like Mina's SNARK worker, and like the coordinator it works for, for tests of what supervises them.
//
// [Worker] does what document snark-worker says of `mina internal snark-worker`: it asks for work, prints the same lines, re-reads the file
// snark_coordinator before each request, submits where it fetched, drops its proof when it is told to end, and ends with the same exit
// codes. It computes nothing. Between it and [Coordinator] runs a protocol of our own, not Mina's RPC: one TCP connection per call, one JSON
// line each way.
//
//	{"call":"get_work"}                            → {"work_ids":[7,8]} or {}
//	{"call":"submit_work","work_ids":[7,8]}        → {"result":"ok"}, or "slashed", or "wrong_shape"
//	{"call":"failed_to_prove","work_ids":[7,8]}    → {}
//
// Its executable is the package main in the folder double.
package minatest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

type call struct {
	Call    string `json:"call"`
	WorkIDs []int  `json:"work_ids,omitempty"`
}

type reply struct {
	WorkIDs []int  `json:"work_ids,omitempty"`
	Result  Result `json:"result,omitempty"`
}

// Result is a coordinator's answer to a submission.
type Result string

// The answers.
const (
	OK         Result = "ok"
	Slashed    Result = "slashed"
	WrongShape Result = "wrong_shape"
)

const (
	maxLineBytes = 64 << 10
	callDeadline = 60 * time.Second // as long as Mina waits for a heartbeat
)

func readLine(connection net.Conn, value any) error {
	line, err := bufio.NewReader(io.LimitReader(connection, maxLineBytes)).ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("connection closed: %w", io.ErrUnexpectedEOF)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(line, value)
}

func writeLine(connection net.Conn, value any) error {
	line, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = connection.Write(append(line, '\n'))
	return err
}
