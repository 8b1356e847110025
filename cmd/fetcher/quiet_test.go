package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestQuiet: a thousand nodes with the same trouble, many times each, are a few lines and one that counts the others.
func TestQuiet(t *testing.T) {
	core, seen := observer.New(zapcore.DebugLevel)
	q := &quiet{}
	log := zap.New(core, zap.WrapCore(q.wrap)).Named("collector")
	said := func() (lines map[string]int) {
		lines = make(map[string]int)
		for _, entry := range seen.TakeAll() {
			line := fmt.Sprint(entry.Level, " ", entry.LoggerName, ": ", entry.Message)
			if strings.Contains(entry.Message, "left out") {
				line += fmt.Sprint(entry.ContextMap())
			}
			lines[line]++
		}
		return lines
	}
	trouble := func(times int) {
		for i := range times {
			log.Warn("the store fails", zap.String("node", fmt.Sprintf("node %d", i%1000)))
		}
	}
	trouble(5000)
	log.With(zap.Int("x", 1)).Info("a daemon was restarted")
	log.Named("itn").Warn("the store fails")
	for range 50 {
		log.Debug("request")
	}
	q.tell()
	if diff := cmp.Diff(map[string]int{
		"warn collector: the store fails": quietLines,
		"warn collector: the store fails (the same, left out)map[left_out:4990 nodes:1000]": 1,
		"info collector: a daemon was restarted":                                            1,
		"warn collector.itn: the store fails":                                               1,
		"debug collector: request":                                                          50,
	}, said()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	q.tell() // nothing more
	trouble(quietLines)
	q.tell()
	if diff := cmp.Diff(map[string]int{"warn collector: the store fails": quietLines}, said()); diff != "" {
		t.Errorf("in the next while (-want +got):\n%s", diff)
	}
}

// TestQuietKeepsTheLevel writes nothing below it.
func TestQuietKeepsTheLevel(t *testing.T) {
	core, seen := observer.New(zapcore.WarnLevel)
	log := zap.New(core, zap.WrapCore((&quiet{}).wrap))
	log.Info("a")
	log.Debug("b")
	log.Warn("c")
	if seen.Len() != 1 {
		t.Errorf("%v", seen.All())
	}
}
