package enforce

// WithoutOffload is for tests whose parents, veths, would not write checksums otherwise.
var WithoutOffload = withoutOffload

// Sweep is what Run does every minute.
func (e *Enforcer) Sweep() { e.sweep() }
