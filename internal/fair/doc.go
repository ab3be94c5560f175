// Package fair owns who works next where many want to and few may at a time: a bounded
// number of turns in all, a bounded number for each user, and a queue of those who wait.
//
// A turn that ends goes to the waiting user who has the fewest; of several, to the one
// who has waited longest. So who comes with little never waits behind somebody who has
// much, however many the other one asks for: at most until the first turn of anybody's
// ends, and for the others who have as little.
//
// Among what one user waits for, removals come first: they make room, and whoever tears
// down should not wait for what was asked for in a rush before. Of one kind, who came
// first is first.
//
// What the daemon does by itself for many users at the same moment waits in [Lanes], one for
// each user, before it asks for turns.
//
// Turns are held, not lent: whoever holds one keeps it until they leave. What bounds the
// wait of the others is therefore the time that work may take.
package fair
