package policy

import (
	"fmt"
	"net/netip"
	"regexp"
	re2 "regexp/syntax"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/ast"
	celenv "cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Bounds of what conditions may cost in the worst case, in CEL's units: a variable,
// a comparison, a call are about 1 each, and some 0.1 µs. A walk over all of the
// metadata is hundreds to thousands. Conditions that are decided without CEL count
// nothing toward MaxSetCost.
const (
	MaxCost    = 10_000 // one condition, also as it runs
	MaxSetCost = 50_000 // all conditions of a set
)

// Bounds of what the parser does with a condition of [MaxExpression] characters.
const (
	maxNodes = 2000
	maxDepth = 50
)

const functionInNetwork = "inNetwork"

// library is what of CEL's standard library a condition may use. There is nothing
// that grows a text or a list, a regular expression is a constant, and doubles are
// only compared, so that the worst case of a condition is small and known.
func library() *celenv.LibrarySubset {
	function := func(name string, ids ...string) *celenv.Function {
		f := &celenv.Function{Name: name}
		for _, id := range ids {
			f.Overloads = append(f.Overloads, &celenv.Overload{ID: id})
		}
		return f
	}
	functions := []*celenv.Function{
		function(operators.Add, overloads.AddInt64, overloads.AddTimestampDuration, overloads.AddDurationTimestamp, overloads.AddDurationDuration),
		function(operators.Subtract, overloads.SubtractInt64, overloads.SubtractTimestampTimestamp, overloads.SubtractTimestampDuration, overloads.SubtractDurationDuration),
		function(operators.Multiply, overloads.MultiplyInt64),
		function(operators.Divide, overloads.DivideInt64),
		function(operators.Modulo, overloads.ModuloInt64),
		function(operators.Negate, overloads.NegateInt64),
		function(operators.Index, overloads.IndexMap),
		function(overloads.TypeConvertTimestamp, overloads.StringToTimestamp),
		function(overloads.TypeConvertDuration, overloads.StringToDuration),
		function(overloads.TypeConvertString, overloads.StringToString, overloads.IntToString, overloads.DoubleToString, overloads.BoolToString, overloads.TimestampToString, overloads.DurationToString),
		function(overloads.TypeConvertInt, overloads.IntToInt, overloads.StringToInt, overloads.DoubleToInt, overloads.TimestampToInt),
		function(overloads.TypeConvertDouble, overloads.DoubleToDouble, overloads.IntToDouble, overloads.StringToDouble),
		// Of the times of day there is UTC alone: another zone is a file of the machine.
		function(overloads.TimeGetHours, overloads.TimestampToHours),
		function(overloads.TimeGetMinutes, overloads.TimestampToMinutes),
		function(overloads.TimeGetDayOfWeek, overloads.TimestampToDayOfWeek),
		function(overloads.TimeGetDate, overloads.TimestampToDayOfMonthOneBased),
		function(overloads.TimeGetMonth, overloads.TimestampToMonth),
		function(overloads.TimeGetFullYear, overloads.TimestampToYear),
	}
	for _, name := range []string{
		operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional, operators.NotStrictlyFalse,
		operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals,
		operators.In, overloads.Size, overloads.StartsWith, overloads.EndsWith, overloads.Contains, overloads.Matches,
	} {
		functions = append(functions, function(name))
	}
	return celenv.NewLibrarySubset().
		AddIncludedMacros(operators.Has, operators.All, operators.Exists, operators.ExistsOne).
		AddIncludedFunctions(functions...)
}

// environment is built once: it is the same for every set.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(library())),
		cel.ParserExpressionSizeLimit(MaxExpression),
		cel.ParserRecursionLimit(maxDepth),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ParserErrorRecoveryLimit(1),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateHomogeneousAggregateLiterals()),
		cel.Function(functionInNetwork, cel.Overload("in_network_string_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType,
			cel.BinaryBinding(inNetwork))),
	}
	for _, v := range variableOf {
		options = append(options, cel.Variable(v.name, v.kind))
	}
	return cel.NewCustomEnv(options...)
})

// inNetwork tells whether an address is in a network. An address that is not
// known is in none and outside of none: it is an error, which refuses.
func inNetwork(ip, network ref.Val) ref.Val {
	a, ok := ip.(types.String)
	n, ok2 := network.(types.String)
	if !ok || !ok2 {
		return types.MaybeNoSuchOverloadErr(ip)
	}
	addr, err := netip.ParseAddr(string(a))
	if err != nil {
		return types.NewErr("inNetwork: the address is not known")
	}
	prefix, err := parseNetwork(string(n))
	if err != nil {
		return types.NewErr("inNetwork: %v", err)
	}
	return types.Bool(prefix.Contains(addr))
}

// parseNetwork reads a network in CIDR notation, in the one form of it.
func parseNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("%.60q is no network such as 10.0.0.0/8 or 192.0.2.7/32", s)
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%q: write IPv4 as IPv4", s)
	case p.Masked() != p:
		return p, fmt.Errorf("%q has bits behind its length: write %s", s, p.Masked())
	default:
		return p, nil
	}
}

// sizes tells CEL's estimator how large what a request brings can be.
type sizes struct{}

// EstimateSize answers for variables, and for what is in the metadata.
func (sizes) EstimateSize(n checker.AstNode) *checker.SizeEstimate {
	path := n.Path()
	if len(path) == 0 {
		return nil
	}
	v, ok := factOf[path[0]]
	if !ok || v >= variables {
		return nil
	}
	size := variableOf[v].size
	if v == factMetadata && len(path) > 1 {
		size = metadataValue
		if path[1] == "@keys" {
			size = metadataKey
		}
	}
	return &checker.SizeEstimate{Min: 0, Max: size}
}

const (
	networkCost = 5
	// parseCost is that of a number which is read from a text.
	parseCost = 10
	// convertedSize is how long a text is at most that was made of something else.
	convertedSize = 64
)

// EstimateCallCost answers for our own function, and for what CEL knows too little of.
func (s sizes) EstimateCallCost(function, _ string, target *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	if target != nil {
		args = append([]checker.AstNode{*target}, args...)
	}
	switch function {
	case functionInNetwork:
		return &checker.CallEstimate{CostEstimate: checker.FixedCostEstimate(networkCost)}
	case overloads.Matches:
		pattern, _ := literalText(args[1].Expr())
		return &checker.CallEstimate{CostEstimate: checker.FixedCostEstimate(matchCost(pattern, s.sizeOf(args[0])))}
	case overloads.TypeConvertInt, overloads.TypeConvertDouble:
		return &checker.CallEstimate{CostEstimate: checker.FixedCostEstimate(parseCost)}
	case overloads.TypeConvertString:
		size := uint64(convertedSize)
		if args[0].Type() == types.StringType {
			size = s.sizeOf(args[0])
		}
		return &checker.CallEstimate{CostEstimate: checker.FixedCostEstimate(parseCost), ResultSize: &checker.SizeEstimate{Max: size}}
	default:
		return nil
	}
}

// sizeOf is how long a text is at most.
func (s sizes) sizeOf(n checker.AstNode) uint64 {
	if known := n.ComputedSize(); known != nil {
		return known.Max
	}
	if known := s.EstimateSize(n); known != nil {
		return known.Max
	}
	return max(metadataValue, longText, shortText)
}

// matchCost is what a regular expression may cost. CEL goes by the length of the
// pattern; but a short one can be a long program (a{1000}), each step of which may be
// taken for each character: some 10 ns.
func matchCost(pattern string, size uint64) uint64 {
	return 1 + (size+1)*patternSize(pattern)/10
}

// patternSize is how many steps the program of a pattern has; not less than its
// characters, by which CEL counts at run time.
func patternSize(pattern string) uint64 {
	parsed, err := re2.Parse(pattern, re2.Perl)
	if err != nil {
		return 1 // it is refused elsewhere
	}
	program, err := re2.Compile(parsed.Simplify())
	if err != nil {
		return 1
	}
	return uint64(max(len(program.Inst), len(pattern)))
}

// CallCost is what calls of our own function cost at run time. Of the others CEL counts
// less than was estimated.
func (sizes) CallCost(function, _ string, _ []ref.Val, _ ref.Val) *uint64 {
	if function != functionInNetwork {
		return nil
	}
	cost := uint64(networkCost)
	return &cost
}

// condition is a compiled expression. The zero value always holds.
type condition struct {
	source string
	// quick decides where it is complete, else it only rules out: where it says no,
	// the expression is no. nil says nothing.
	quick    predicate
	complete bool
	program  cel.Program
	cost     uint64 // at worst; 0 where CEL is not asked
	uses     []fact
}

// slip is what is wrong with an expression.
type slip struct {
	line    int // of the expression, from 1
	message string
}

// compileCondition checks an expression and makes it ready to be evaluated.
func compileCondition(text string) (condition, []slip) {
	one := func(format string, args ...any) (condition, []slip) {
		return condition{}, []slip{{1, fmt.Sprintf(format, args...)}}
	}
	env, err := environment()
	if err != nil {
		return one("%v", err)
	}
	if n := len([]rune(text)); n > MaxExpression {
		return one("the condition has %d characters, more than %d", n, MaxExpression)
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return condition{}, slips(issues)
	}
	if checked.OutputType() != cel.BoolType {
		return one("the condition is of type %s, not bool", cel.FormatCELType(checked.OutputType()))
	}
	native := checked.NativeRep()
	c := condition{source: text}
	in := inspector{info: native.SourceInfo()}
	ast.PostOrderVisit(native.Expr(), ast.NewExprVisitor(in.look))
	if len(in.slips) > 0 {
		return condition{}, in.slips
	}
	c.uses = in.uses
	cost, err := env.EstimateCost(checked, sizes{})
	switch {
	case err != nil:
		return one("%v", err)
	case cost.Max > MaxCost:
		return one("the condition may cost too much: %d at worst, of at most %d", cost.Max, uint64(MaxCost))
	}
	c.program, err = env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostTracking(sizes{}), cel.CostLimit(MaxCost))
	if err != nil {
		return one("%v", err)
	}
	if c.quick, c.complete = shape(native.Expr()); !c.complete {
		c.cost = cost.Max
	}
	return c, nil
}

// maxSlips bounds what is told of one expression: the rest follows from the first.
const maxSlips = 3

func slips(issues *cel.Issues) []slip {
	var all []slip
	for _, e := range issues.Errors() {
		all = append(all, slip{max(e.Location.Line(), 1), reword(e.Message)})
	}
	return all[:min(len(all), maxSlips)]
}

// reword takes from CEL's messages what only CEL's authors can use.
func reword(m string) string {
	m = strings.ReplaceAll(m, " (in container '')", "")
	if name, ok := strings.CutPrefix(m, "undeclared reference to '"); ok {
		return fmt.Sprintf("there is no variable or function %q; variables are %s", strings.TrimSuffix(name, "'"), strings.Join(Variables(), ", "))
	}
	if strings.HasPrefix(m, "Syntax error: ") {
		m, _, _ = strings.Cut(m, " expecting ")
		m = "syntax" + strings.TrimPrefix(m, "Syntax")
	}
	if len(m) > 300 {
		m = strings.ToValidUTF8(m[:300], "") + " …"
	}
	return strings.Join(strings.Fields(m), " ")
}

// inspector looks for what CEL's types let pass and can never be meant.
type inspector struct {
	info  *ast.SourceInfo
	uses  []fact
	slips []slip
}

func (i *inspector) look(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		if v, ok := factOf[e.AsIdent()]; ok && v < variables && !slices.Contains(i.uses, v) {
			i.uses = append(i.uses, v)
		}
	case ast.CallKind:
		i.call(e)
	default:
	}
}

func (i *inspector) call(e ast.Expr) {
	call := e.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case functionInNetwork:
		text, ok := literalText(args[1])
		if !ok {
			i.slip(e, "inNetwork wants its network written out")
		} else if _, err := parseNetwork(text); err != nil {
			i.slip(e, "%v", err)
		}
	case overloads.Matches:
		pattern, ok := literalText(args[len(args)-1])
		if !ok {
			i.slip(e, "matches wants its pattern written out")
		} else if _, err := regexp.Compile(pattern); err != nil {
			i.slip(e, "%v", err)
		}
	case operators.Equals, operators.NotEquals:
		i.compare(args[0], args[1])
		i.compare(args[1], args[0])
	case operators.In:
		if args[1].Kind() == ast.ListKind {
			for _, element := range args[1].AsList().Elements() {
				i.compare(args[0], element)
			}
		}
	default:
	}
}

// compare refuses a comparison of a variable with a value that it never has.
func (i *inspector) compare(variable, value ast.Expr) {
	v, ok := variableText(variable)
	text, literal := literalText(value)
	if !ok || !literal || variableOf[v].values == nil || slices.Contains(variableOf[v].values, text) {
		return
	}
	if known := variableOf[v].values; len(known) < 10 {
		i.slip(value, "%s is never %q, but one of %q", variableOf[v].name, text, known)
	} else {
		i.slip(value, "%s is never %q", variableOf[v].name, text)
	}
}

func (i *inspector) slip(e ast.Expr, format string, args ...any) {
	if len(i.slips) < maxSlips {
		line := max(i.info.GetStartLocation(e.ID()).Line(), 1)
		i.slips = append(i.slips, slip{line, fmt.Sprintf(format, args...)})
	}
}

// holds evaluates the condition. An error is one of CEL's: a key of metadata that
// is not there, a division by zero, a cost over the bound.
func (c *condition) holds(f *facts) (bool, error) {
	if c.quick != nil {
		switch c.quick(f) {
		case no:
			return false, nil
		case yes:
			if c.complete {
				return true, nil
			}
		case fails: // CEL knows the words for it
		}
	} else if c.program == nil {
		return true, nil
	}
	return c.evaluate(f)
}

// evaluate asks CEL.
func (c *condition) evaluate(f *facts) (bool, error) {
	out, _, err := c.program.Eval(f)
	if err != nil {
		return false, err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the condition is %s, not bool", out.Type().TypeName())
	}
	return bool(b), nil
}
