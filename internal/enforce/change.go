package enforce

import "github.com/net-porter/net-porter/internal/enforce/nft"

// change puts one attachment's elements in the place of those that it had; nil: none.
func (e *Enforcer) change(id string, to *kept) error {
	was, had := e.held[id]
	delta := map[element]int{}
	if had {
		for _, el := range e.installed.elementsOf(was) {
			delta[el]--
		}
	}
	if to != nil {
		for _, el := range e.installed.elementsOf(*to) {
			delta[el]++
		}
	}
	b := &nft.Batch{}
	for el, n := range delta {
		if n < 0 && e.count[el] == 1 {
			b.DeleteElements(netTable, el.set, el.key)
		}
	}
	if to != nil { // also what is there already: it fails if the set is not
		for _, el := range e.installed.elementsOf(*to) {
			b.AddElements(netTable, el.set, el.key)
		}
	}
	if err := e.apply(b); err != nil {
		return err
	}
	for el, n := range delta {
		if e.count[el] += n; e.count[el] == 0 {
			delete(e.count, el)
		}
	}
	if delete(e.held, id); to != nil {
		e.held[id] = *to
	}
	return nil
}

// apply is all that changes nf_tables.
func (e *Enforcer) apply(b *nft.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	if err := e.conn.Apply(b); err != nil {
		return err
	}
	e.generation++
	return nil
}
