package api

// Serves tells whether a method and a pattern, such as "POST /v1/payments", is
// one of the calls that merchants make.
func Serves(call string) bool {
	for i := range routes {
		for _, ep := range routes[i].endpoints {
			if !ep.open && ep.method+" "+routes[i].pattern == call {
				return true
			}
		}
	}
	return false
}
