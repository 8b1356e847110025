package whitelist

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"provingground/internal/mina"
)

// errNotLoaded says that nobody has looked yet.
var errNotLoaded = errors.New("the whitelist has not been loaded yet")

// Options say how a source is watched. The zero value is usable.
type Options struct {
	// Every is how often Run looks, wall time; 0 means 5 s for a [File] and 10 s for a [Database].
	Every time.Duration
	// Log takes changes and failures; nil is silent.
	Log *zap.Logger
	// Now is the wall time; nil means the machine's.
	Now func() time.Time
}

// complete fills in the defaults.
func (o Options) complete(every time.Duration) Options {
	if o.Every <= 0 {
		o.Every = every
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// keys are the keys of a list. They do not change.
type keys struct {
	texts map[string]mina.PublicKey // as they were written, so that the next list need not decode them again: that takes a square root each
	set   map[mina.PublicKey]struct{}
}

// add adds the key of a text.
func (k *keys) add(text string, before *keys) error {
	public, known := before.texts[text]
	if !known {
		var err error
		if public, err = mina.ParsePublicKey(text); err != nil {
			return err
		}
	}
	k.texts[text] = public
	k.set[public] = struct{}{}
	return nil
}

func newKeys() *keys {
	return &keys{texts: make(map[string]mina.PublicKey), set: make(map[mina.PublicKey]struct{})}
}

// list is what a source said last.
type list struct {
	state   atomic.Pointer[state]
	options Options
}

// state is replaced as a whole.
type state struct {
	*keys
	loaded time.Time // when it was last known that the source says this; zero for never
	err    error     // why it is not known now
}

func (l *list) init(options Options) {
	l.options = options
	l.state.Store(&state{keys: newKeys(), err: errNotLoaded})
}

// succeed takes what a source says. Not at the same time as another call of succeed or fail.
func (l *list) succeed(now *keys) {
	before := l.state.Load()
	l.state.Store(&state{keys: now, loaded: l.options.Now(), err: nil})
	if before.err != nil || before.keys != now {
		l.options.Log.Info("the whitelist was loaded", zap.Int("keys", len(now.set)))
	}
	if before.keys != now && len(now.set) == 0 {
		l.options.Log.Warn("the whitelist is empty: nobody may submit")
	}
}

// fail keeps what the source said before.
func (l *list) fail(err error) {
	before := l.state.Load()
	l.state.Store(&state{keys: before.keys, loaded: before.loaded, err: err})
	if before.err == nil || before.err.Error() != err.Error() {
		l.options.Log.Error("the whitelist cannot be read; the keys of before stay", zap.Int("keys", len(before.set)), zap.Error(err))
	}
}

// Contains tells whether a key is on the list.
func (l *list) Contains(submitter mina.PublicKey) bool {
	_, found := l.state.Load().set[submitter]
	return found
}

// Healthy returns nil while the list is what its source says, as far as is known, and why it is not otherwise.
func (l *list) Healthy() error { return l.state.Load().err }

// Size is the number of keys.
func (l *list) Size() int { return len(l.state.Load().set) }

// Loaded is when the list was last found to be what its source says; zero for never.
func (l *list) Loaded() time.Time { return l.state.Load().loaded }

// watch calls refresh at once and then again and again, until ctx ends. What refresh returns is in the list's state, and is told there.
func (l *list) watch(ctx context.Context, refresh func(context.Context) error) {
	ticker := time.NewTicker(l.options.Every)
	defer ticker.Stop()
	for {
		_ = refresh(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
