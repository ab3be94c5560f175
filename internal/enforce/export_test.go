package enforce

// WithoutOffload is for tests whose parents, veths, would not write checksums otherwise.
var WithoutOffload = withoutOffload
