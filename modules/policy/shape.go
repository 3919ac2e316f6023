package policy

import (
	"net/netip"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// Most conditions compare variables with constants. Those shapes are recognized
// when a set is loaded and decided without CEL's interpreter, some fifty times
// faster. A predicate means exactly what CEL means, errors included:
// TestShapesAgree compares the two over random conditions and requests.

// answer is a truth value of CEL's: an operand that fails decides nothing, unless
// the other one decides alone.
type answer uint8

const (
	no answer = iota
	yes
	fails
)

func of(b bool) answer {
	if b {
		return yes
	}
	return no
}

type predicate func(*facts) answer

// shape recognizes an expression. Where it is not complete, the predicate is made
// of those operands of the outermost && that were recognized: where one of them is
// no, so is the whole, whatever the others are, and even where they fail.
func shape(e ast.Expr) (p predicate, complete bool) {
	if p := recognize(e); p != nil {
		return p, true
	}
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != operators.LogicalAnd {
		return nil, false
	}
	for _, arg := range e.AsCall().Args() {
		if q, _ := shape(arg); q != nil {
			p = both(p, q)
		}
	}
	return p, false
}

func both(a, b predicate) predicate {
	if a == nil {
		return b
	}
	return func(f *facts) answer {
		l := a(f)
		if l == no {
			return no
		}
		r := b(f)
		if r == no || l == yes {
			return r
		}
		return fails
	}
}

func either(a, b predicate) predicate {
	return func(f *facts) answer {
		l := a(f)
		if l == yes {
			return yes
		}
		r := b(f)
		if r == yes || l == no {
			return r
		}
		return fails
	}
}

func not(a predicate) predicate {
	return func(f *facts) answer {
		switch a(f) {
		case yes:
			return no
		case no:
			return yes
		default:
			return fails
		}
	}
}

// recognize returns nil where it does not know the expression.
func recognize(e ast.Expr) predicate {
	switch e.Kind() {
	case ast.LiteralKind:
		if b, ok := e.AsLiteral().(types.Bool); ok {
			return func(*facts) answer { return of(bool(b)) }
		}
	case ast.IdentKind:
		if v, ok := factOf[e.AsIdent()]; ok && v < variables && variableOf[v].kind == types.BoolType {
			return func(f *facts) answer { return of(f.flag(v)) }
		}
	case ast.SelectKind:
		if key, ok := metadataSelect(e, true); ok {
			return hasMetadata(key)
		}
	case ast.CallKind:
		return recognizeCall(e.AsCall())
	default:
	}
	return nil
}

func recognizeCall(call ast.CallExpr) predicate {
	args := call.Args()
	switch name := call.FunctionName(); name {
	case operators.LogicalAnd, operators.LogicalOr:
		var p predicate
		for _, arg := range args {
			q := recognize(arg)
			switch {
			case q == nil:
				return nil
			case p == nil:
				p = q
			case name == operators.LogicalAnd:
				p = both(p, q)
			default:
				p = either(p, q)
			}
		}
		return p
	case operators.LogicalNot:
		if p := recognize(args[0]); p != nil {
			return not(p)
		}
	case operators.Equals:
		return equality(args[0], args[1])
	case operators.NotEquals:
		if p := equality(args[0], args[1]); p != nil {
			return not(p)
		}
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return order(name, args[0], args[1])
	case operators.In:
		return membership(args[0], args[1])
	case overloads.StartsWith, overloads.EndsWith, overloads.Contains:
		return affix(name, call.Target(), args[0])
	case functionInNetwork:
		return network(args[0], args[1])
	}
	return nil
}

func equality(a, b ast.Expr) predicate {
	if a.Kind() == ast.LiteralKind {
		a, b = b, a
	}
	if text, ok := literalText(b); ok {
		if v, ok := variableText(a); ok {
			return func(f *facts) answer { return of(f.text(v) == text) }
		}
		if key, ok := metadataValueOf(a); ok {
			return func(f *facts) answer {
				value, ok := f.in.Metadata[key]
				if !ok {
					return fails
				}
				return of(value == text)
			}
		}
		return nil
	}
	if n, ok := literalInt(b); ok && isIdent(a, factAmount) {
		return func(f *facts) answer { return of(f.in.Amount == n) }
	}
	if p, q := recognize(a), recognize(b); p != nil && q != nil {
		return same(p, q)
	}
	return nil
}

// same compares two truth values; unlike && it needs both.
func same(p, q predicate) predicate {
	return func(f *facts) answer {
		l, r := p(f), q(f)
		if l == fails || r == fails {
			return fails
		}
		return of(l == r)
	}
}

// order compares the amount with a constant.
func order(operator string, a, b ast.Expr) predicate {
	if n, ok := literalInt(a); ok && isIdent(b, factAmount) {
		mirrored := map[string]string{
			operators.Less: operators.Greater, operators.LessEquals: operators.GreaterEquals,
			operators.Greater: operators.Less, operators.GreaterEquals: operators.LessEquals,
		}
		return amount(mirrored[operator], n)
	}
	if n, ok := literalInt(b); ok && isIdent(a, factAmount) {
		return amount(operator, n)
	}
	return nil
}

func amount(operator string, n int64) predicate {
	switch operator {
	case operators.Less:
		return func(f *facts) answer { return of(f.in.Amount < n) }
	case operators.LessEquals:
		return func(f *facts) answer { return of(f.in.Amount <= n) }
	case operators.Greater:
		return func(f *facts) answer { return of(f.in.Amount > n) }
	default:
		return func(f *facts) answer { return of(f.in.Amount >= n) }
	}
}

// membership is `currency in ["EUR", "USD"]`, and `"tier" in metadata`.
func membership(a, b ast.Expr) predicate {
	if key, ok := literalText(a); ok && isIdent(b, factMetadata) {
		return hasMetadata(key)
	}
	v, ok := variableText(a)
	if !ok || b.Kind() != ast.ListKind {
		return nil
	}
	var texts []string
	for _, e := range b.AsList().Elements() {
		text, ok := literalText(e)
		if !ok {
			return nil
		}
		texts = append(texts, text)
	}
	return func(f *facts) answer { return of(slices.Contains(texts, f.text(v))) }
}

func affix(function string, target, arg ast.Expr) predicate {
	v, ok := variableText(target)
	text, literal := literalText(arg)
	if !ok || !literal {
		return nil
	}
	switch function {
	case overloads.StartsWith:
		return func(f *facts) answer { return of(strings.HasPrefix(f.text(v), text)) }
	case overloads.EndsWith:
		return func(f *facts) answer { return of(strings.HasSuffix(f.text(v), text)) }
	default:
		return func(f *facts) answer { return of(strings.Contains(f.text(v), text)) }
	}
}

func network(ip, cidr ast.Expr) predicate {
	text, ok := literalText(cidr)
	if !ok || !isIdent(ip, factIP) {
		return nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return nil
	}
	return func(f *facts) answer {
		if !f.ip.IsValid() {
			return fails
		}
		return of(prefix.Contains(f.ip))
	}
}

func hasMetadata(key string) predicate {
	return func(f *facts) answer {
		_, ok := f.in.Metadata[key]
		return of(ok)
	}
}

// metadataValueOf is metadata.key or metadata["key"].
func metadataValueOf(e ast.Expr) (key string, ok bool) {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.Index {
		if args := e.AsCall().Args(); isIdent(args[0], factMetadata) {
			return literalText(args[1])
		}
		return "", false
	}
	return metadataSelect(e, false)
}

// metadataSelect is metadata.key, or has(metadata.key).
func metadataSelect(e ast.Expr, has bool) (key string, ok bool) {
	if e.Kind() != ast.SelectKind {
		return "", false
	}
	s := e.AsSelect()
	return s.FieldName(), s.IsTestOnly() == has && isIdent(s.Operand(), factMetadata)
}

func isIdent(e ast.Expr, f fact) bool {
	return e.Kind() == ast.IdentKind && e.AsIdent() == variableOf[f].name
}

// variableText is a variable that is a string.
func variableText(e ast.Expr) (fact, bool) {
	if e.Kind() != ast.IdentKind {
		return 0, false
	}
	v, ok := factOf[e.AsIdent()]
	return v, ok && v < variables && variableOf[v].kind == types.StringType
}

func literalText(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

func literalInt(e ast.Expr) (int64, bool) {
	if e.Kind() != ast.LiteralKind {
		return 0, false
	}
	n, ok := e.AsLiteral().(types.Int)
	return int64(n), ok
}
