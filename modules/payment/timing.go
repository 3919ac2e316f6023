package payment

import (
	"strconv"
	"time"
)

// HeaderTiming is the field in which every answer of the gateway's tells how long it
// took (W3C Server Timing).
const HeaderTiming = "Server-Timing"

// ServerTiming is what [HeaderTiming] says, in milliseconds: total − psp is the
// gateway's own part.
func ServerTiming(total, psp time.Duration) string {
	b := make([]byte, 0, 48)
	b = append(b, "total;dur="...)
	b = strconv.AppendFloat(b, float64(total.Microseconds())/1000, 'f', 2, 64)
	b = append(b, ", psp;dur="...)
	b = strconv.AppendFloat(b, float64(psp.Microseconds())/1000, 'f', 2, 64)
	return string(b)
}
