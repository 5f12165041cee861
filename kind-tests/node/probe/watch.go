package probe

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
)

// Tally turns answers into a verdict: it changes after so many equal answers in a row.
type Tally struct {
	Verdict bool
	good    int
	bad     int
	run     int
	last    bool
}

// NewTally starts with a verdict, before anything was asked.
func NewTally(said *v1.Probe, verdict bool) *Tally {
	return &Tally{Verdict: verdict, good: max(1, int(said.SuccessThreshold)), bad: max(1, int(said.FailureThreshold))}
}

// Add counts an answer and says whether the run of answers like it has just become long enough.
func (t *Tally) Add(good bool) bool {
	if good != t.last {
		t.run, t.last = 0, good
	}
	t.run++
	needed := t.bad
	if good {
		needed = t.good
	}
	if t.run == needed {
		t.Verdict = good
		return true
	}
	return false
}

// Watch asks until `ctx` ends. After each answer that settles the verdict it calls `settled`, with
// the last reason if the verdict is bad; `settled` says whether to go on.
func Watch(ctx context.Context, said *v1.Probe, verdict bool, at Target, settled func(good bool, reason error) bool) {
	tally := NewTally(said, verdict)
	timeout := time.Duration(max(1, said.TimeoutSeconds)) * time.Second
	wait := time.Duration(said.InitialDelaySeconds) * time.Second
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		started := time.Now()
		asking, stop := context.WithTimeout(ctx, timeout)
		reason := Check(asking, &said.ProbeHandler, at)
		stop()
		if ctx.Err() != nil {
			return
		}
		if tally.Add(reason == nil) && !settled(tally.Verdict, reason) {
			return
		}
		wait = time.Duration(max(1, said.PeriodSeconds))*time.Second - time.Since(started)
	}
}
