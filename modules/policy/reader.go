package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

// reader turns the nodes of one file into rules.
type reader struct {
	source
	faults *faultList
	set    *Set
	names  map[string]*rule // over all files; the names are of rules that are done
}

func (r *reader) fault(n *yaml.Node, format string, args ...any) {
	r.faults.add(r.path, n.Line, format, args...)
}

// field is a key that a mapping may have.
type field struct {
	name string
	read func(*yaml.Node)
}

// mapping reads every pair of a mapping by the field of its name, and refuses
// unknown and double keys. It returns the keys that were there.
func (r *reader) mapping(n *yaml.Node, what string, fields ...field) (there []string) {
	if n.Kind != yaml.MappingNode {
		r.fault(n, "%s is no mapping", what)
		return nil
	}
	for i := 0; i+1 < len(n.Content) && !r.faults.full(); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := slices.IndexFunc(fields, func(f field) bool { return key.Kind == yaml.ScalarNode && f.name == key.Value })
		switch {
		case at < 0:
			var known []string
			for _, f := range fields {
				known = append(known, f.name)
			}
			r.fault(key, "%s has no key %s, but %s", what, shown(key), strings.Join(known, ", "))
		case slices.Contains(there, key.Value):
			r.fault(key, "%s has %s twice", what, key.Value)
		default:
			there = append(there, key.Value)
			fields[at].read(value)
		}
	}
	return there
}

// table reads a mapping whose keys are names of the operator's choice.
func (r *reader) table(n *yaml.Node, what string, read func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		r.fault(n, "%s is no mapping with entries", what)
		return
	}
	if len(n.Content)/2 > MaxList {
		r.fault(n, "%s has more than %d entries", what, MaxList)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str":
			r.fault(key, "%s: a key is text, not %s", what, shown(key))
		case seen[key.Value]:
			r.fault(key, "%s has %.40q twice", what, key.Value)
		default:
			seen[key.Value] = true
			read(key, n.Content[i+1])
		}
	}
}

// list reads a list; it may be empty where the caller takes that.
func (r *reader) list(n *yaml.Node, what string, limit int, read func(*yaml.Node)) bool {
	if n.Kind != yaml.SequenceNode {
		r.fault(n, "%s is no list", what)
		return false
	}
	if len(n.Content) > limit {
		r.fault(n, "%s has more than %d entries", what, limit)
		return false
	}
	for _, e := range n.Content {
		read(e)
	}
	return true
}

// text reads text, and nothing that YAML takes for something else.
func (r *reader) text(n *yaml.Node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		r.fault(n, "%s is text, not %s; write it in quotes", what, shown(n))
		return "", false
	}
	return n.Value, true
}

func (r *reader) boolean(n *yaml.Node, what string) (value, ok bool) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		switch n.Value {
		case "true":
			return true, true
		case "false":
			return false, true
		}
	}
	r.fault(n, "%s is true or false, not %s", what, shown(n))
	return false, false
}

var decimal = regexp.MustCompile(`^(0|[1-9][0-9]{0,17})$`)

// integer reads a decimal number: YAML would also take 0x10, 0o7 and 1_000.
func (r *reader) integer(n *yaml.Node, what string, least, most int64) (int64, bool) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" && decimal.MatchString(n.Value) {
		if v, err := strconv.ParseInt(n.Value, 10, 64); err == nil && v >= least && v <= most {
			return v, true
		}
	}
	r.fault(n, "%s is a number in minor units, %d … %d, not %s", what, least, most, shown(n))
	return 0, false
}

// shown writes a node for an error.
func shown(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!null":
		return "nothing"
	default:
		return fmt.Sprintf("%.40q", n.Value)
	}
}

var ruleName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9 _./:-]*[A-Za-z0-9])?$`)

// rules reads a file of rules.
func (r *reader) rules(root *yaml.Node) {
	read := func(n *yaml.Node) {
		r.list(n, "rules", MaxRules, func(n *yaml.Node) {
			if len(r.set.rules) == MaxRules {
				r.fault(n, "there are more than %d rules", MaxRules)
			}
			if len(r.set.rules) <= MaxRules && !r.faults.full() {
				r.rule(n)
			}
		})
	}
	if there := r.mapping(root, "the file", field{"rules", read}); len(there) == 0 {
		r.fault(root, "the file has no rules")
	}
}

func (r *reader) rule(n *yaml.Node) {
	to := rule{file: r.path, line: n.Line}
	b := builder{r, &to}
	var uses []fact
	there := r.mapping(n, "a rule",
		field{"name", func(n *yaml.Node) { to.name = r.name(n) }},
		field{"when", func(n *yaml.Node) { to.when, uses = r.when(n) }},
		field{"deny", b.deny},
		field{"require", b.require},
		field{"limit", b.limit},
		field{"allow", b.allow},
	)
	if !slices.Contains(there, "name") && n.Kind == yaml.MappingNode {
		r.fault(n, "a rule has no name")
	}
	for i := range to.rates {
		to.rates[i].Rule = to.name
	}
	for i := range to.daily {
		to.daily[i].Rule = to.name
	}
	for _, f := range uses {
		r.set.uses[f] = true
	}
	for _, c := range to.checks {
		r.set.uses[c.fact] = true
		if c.rank == rankAmount {
			r.set.uses[factCurrency] = true
		}
	}
	r.set.rules = append(r.set.rules, to)
	if to.name != "" {
		r.names[to.name] = &rule{file: to.file, line: to.line}
	}
}

func (r *reader) name(n *yaml.Node) string {
	name, ok := r.text(n, "name")
	switch other := r.names[name]; {
	case !ok:
		return ""
	case len(name) > MaxName || !ruleName.MatchString(name):
		r.fault(n, "%.80q is no name: 1 … %d letters, digits, spaces and _ . / : -", name, MaxName)
		return ""
	case other != nil:
		r.fault(n, "there is a rule %q already, at %s:%d", name, other.file, other.line)
		return ""
	}
	return name
}

// when reads a condition. Its own lines are the file's where the file keeps them:
// in one line, and in a block behind |.
func (r *reader) when(n *yaml.Node) (condition, []fact) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" && n.ShortTag() != "!!bool" {
		r.fault(n, "when is an expression, not %s; write it in quotes", shown(n))
		return condition{}, nil
	}
	c, slips := compileCondition(n.Value)
	for _, s := range slips {
		line := n.Line
		if n.Style&yaml.LiteralStyle != 0 {
			line += s.line
		} else if n.Style&yaml.FoldedStyle != 0 {
			line++
		}
		r.faults.add(r.path, line, "when: %s", s.message)
	}
	before := r.set.cost
	if r.set.cost += c.cost; r.set.cost > MaxSetCost && before <= MaxSetCost {
		r.fault(n, "when: with this one all conditions may cost too much: %d at worst, of at most %d", r.set.cost, uint64(MaxSetCost))
	}
	return c, c.uses
}

// rate reads one window, or a list of them.
func (r *reader) rate(n *yaml.Node, what string) (rates []access.Rate) {
	one := func(n *yaml.Node) {
		if text, ok := r.text(n, what); ok {
			rate, err := access.ParseRate(text)
			if err != nil {
				r.fault(n, "%s: %v", what, err)
				return
			}
			rates = append(rates, rate)
		}
	}
	if n.Kind == yaml.SequenceNode {
		if r.list(n, what, access.MaxRates, one) && len(n.Content) == 0 {
			r.fault(n, "%s is an empty list", what)
		}
	} else {
		one(n)
	}
	if err := access.CheckRates(rates); err != nil {
		r.fault(n, "%s: %v", what, err)
	}
	return rates
}

// amounts reads amounts by currency.
func (r *reader) amounts(n *yaml.Node, what string, most int64) map[payment.Currency]int64 {
	amounts := map[payment.Currency]int64{}
	r.table(n, what, func(key, value *yaml.Node) {
		c, ok := r.currency(key)
		v, ok2 := r.integer(value, what+"."+key.Value, 1, most)
		if ok && ok2 {
			amounts[c] = v
		}
	})
	return amounts
}

// currency takes upper case alone: it is what the variable has, and what a reader
// searches for.
func (r *reader) currency(n *yaml.Node) (payment.Currency, bool) {
	text, ok := r.text(n, "a currency")
	if !ok {
		return "", false
	}
	c, err := payment.ParseCurrency(text)
	if err != nil || string(c) != text {
		r.fault(n, "%.40q is no currency: three capital letters of ISO 4217, such as EUR", text)
		return "", false
	}
	return c, true
}
