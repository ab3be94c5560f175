package attachment

import "fmt"

// State is where in its life an attachment is.
type State string

// The states of the table in the package's doc.
const (
	Pending      State = "pending"
	Attached     State = "attached"
	Detaching    State = "detaching"
	FailedDetach State = "failed-detach"
)

// event is what leads from one state to the next.
type event string

const (
	made     event = "made"     // ADD succeeded, and what it made was found
	removing event = "removing" // a detach, an undo or a release begins
	failing  event = "failing"  // and has not come to its end
)

// transitions is the table of the package's doc: what each event makes of which state.
// An attachment begins as pending with its record, and ends with it when a removal
// succeeds.
var transitions = map[event]map[State]State{
	made: {Pending: Attached},
	// A removal of what is being removed is that of a daemon which was killed over it.
	removing: {Pending: Detaching, Attached: Detaching, Detaching: Detaching, FailedDetach: Detaching},
	failing:  {Detaching: FailedDetach},
}

// after is the state that follows. There being none is a mistake in this package.
func (s State) after(e event) State {
	next, ok := transitions[e][s]
	if !ok {
		panic(fmt.Sprintf("attachment: %s in state %s", e, s))
	}
	return next
}

// isKnown says whether a record may have the state.
func (s State) isKnown() bool {
	switch s {
	case Pending, Attached, Detaching, FailedDetach:
		return true
	}
	return false
}

// become takes a record to its next state, first in the journal and then in memory.
// change is what else becomes of it. If it cannot be written, all is as it was.
func (m *Manager) become(r *Record, e event, change func(*Record)) (*Record, error) {
	next := *r
	next.State = r.State.after(e)
	if change != nil {
		change(&next)
	}
	if err := m.journal.Write(&next); err != nil {
		return r, err
	}
	m.show(&next)
	return &next, nil
}

// becomeAnyway is become for what is so whether or not it can be written: on a full
// disk, too, what was made is removed. A daemon that starts then finds an earlier state,
// from which all that follows is done again.
func (m *Manager) becomeAnyway(r *Record, e event, change func(*Record)) *Record {
	next, err := m.become(r, e, change)
	if err == nil {
		return next
	}
	m.log.Error("cannot record an attachment's state", "attachment", r.Key.String(), "state", r.State.after(e), "error", err)
	unwritten := *r
	unwritten.State = r.State.after(e)
	if change != nil {
		change(&unwritten)
	}
	m.show(&unwritten)
	return &unwritten
}

// show puts a record in the place of its predecessor, for all to see.
func (m *Manager) show(r *Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records[r.Key] = r
}

// forget ends an attachment of which nothing is left.
func (m *Manager) forget(r *Record) error {
	if err := m.journal.Remove(r.Key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, r.Key)
	return nil
}
