package gateway

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// fieldName is the name of a struct's field in a configuration; "" for a field
// that is not configured.
func fieldName(f reflect.StructField) string {
	if !f.IsExported() {
		return ""
	}
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "-" {
		return ""
	}
	return name
}

func required(f reflect.StructField) bool {
	options := strings.Split(f.Tag.Get("json"), ",")[1:]
	return f.Type.Kind() != reflect.Bool &&
		!slices.Contains(options, "omitempty") && !slices.Contains(options, "omitzero")
}

// fields reads "field value…" lines into the JSON of a struct, by the types of
// its fields; connectors and transports need no Caddyfile code of their own.
type fields struct {
	owner  string // named in errors, such as "stripe"
	byName map[string]reflect.StructField
	values map[string]json.RawMessage
	lines  map[string]int
}

func newFields(owner string, t reflect.Type) *fields {
	f := &fields{
		owner: owner, byName: map[string]reflect.StructField{},
		values: map[string]json.RawMessage{}, lines: map[string]int{},
	}
	for field := range t.Fields() {
		if name := fieldName(field); name != "" {
			f.byName[name] = field
		}
	}
	return f
}

// has tells whether the struct has such a field.
func (f *fields) has(name string) bool { _, ok := f.byName[name]; return ok }

// names lists the fields for an error.
func (f *fields) names() string { return strings.Join(sorted(f.byName), ", ") }

// read takes the line on which d stands.
func (f *fields) read(d *caddyfile.Dispenser) error {
	name := d.Val()
	field, ok := f.byName[name]
	if !ok {
		return d.Errf("%s has no field %q; it has %s", f.owner, name, f.names())
	}
	if line, seen := f.lines[name]; seen {
		return d.Errf("%s is given twice; first at line %d", name, line)
	}
	f.lines[name] = d.Line()
	value, err := parseValue(d, name, field.Type)
	if err != nil {
		return err
	}
	f.values[name] = value
	return nil
}

// block reads the block that follows d, and returns it as a JSON object.
func (f *fields) block(d *caddyfile.Dispenser) (json.RawMessage, error) {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := f.read(d); err != nil {
			return nil, err
		}
	}
	raw, err := f.object("", "")
	if err != nil {
		return nil, d.WrapErr(err)
	}
	return raw, nil
}

// missing lists the required fields that were not given.
func (f *fields) missing() []string {
	var out []string
	for _, name := range sorted(f.byName) {
		if _, given := f.values[name]; !given && required(f.byName[name]) {
			out = append(out, name)
		}
	}
	return out
}

// parseValue reads the rest of the line as JSON for a field of type t.
func parseValue(d *caddyfile.Dispenser, name string, t reflect.Type) (json.RawMessage, error) {
	args := d.RemainingArgs()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	isList := t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String
	switch {
	case isList && len(args) == 0:
		return nil, d.Errf("%s needs a value", name)
	case t.Kind() == reflect.Bool && len(args) == 0:
		args = []string{"true"}
	case !isList && len(args) != 1:
		return nil, d.Errf("%s takes one value, not %d", name, len(args))
	}
	var value any
	var err error
	switch {
	case isList:
		value = args
	case t == reflect.TypeFor[time.Duration]() || t == reflect.TypeFor[caddy.Duration]():
		value, err = caddy.ParseDuration(args[0])
		if t == reflect.TypeFor[caddy.Duration]() {
			value = args[0] // it is read back as it was written
		}
	case t.Kind() == reflect.Bool:
		value, err = strconv.ParseBool(args[0])
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		value, err = strconv.ParseInt(args[0], 10, 64)
	default:
		value = args[0]
	}
	if err != nil {
		return nil, d.Errf("%s: %q is not a %s", name, args[0], kindName(t))
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, d.WrapErr(err)
	}
	// Trying it here gives the error the line of the field.
	if err := json.Unmarshal(raw, reflect.New(t).Interface()); err != nil {
		return nil, d.Errf("%s: %v", name, err)
	}
	return raw, nil
}

func kindName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]() || t == reflect.TypeFor[caddy.Duration]():
		return "duration, such as 20s"
	case t.Kind() == reflect.Bool:
		return "boolean"
	default:
		return "whole number"
	}
}

// object writes what was read as one JSON object, with name for its inline key
// where that is not empty.
func (f *fields) object(key, name string) (json.RawMessage, error) {
	o := map[string]json.RawMessage{}
	maps.Copy(o, f.values)
	if key != "" {
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		o[key] = quoted
	}
	return json.Marshal(o)
}
