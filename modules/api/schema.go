package api

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/payment"
)

// schema is JSON Schema 2020-12 as far as the document needs it.
type schema struct {
	Ref           string           `json:"$ref,omitzero"`
	Type          any              `json:"type,omitzero"` // a string, or []string where null occurs
	Format        string           `json:"format,omitzero"`
	Description   string           `json:"description,omitzero"`
	Enum          []string         `json:"enum,omitzero"`
	Default       any              `json:"default,omitzero"`
	MinLength     int              `json:"minLength,omitzero"`
	MaxLength     int              `json:"maxLength,omitzero"`
	Pattern       string           `json:"pattern,omitzero"`
	Minimum       *int64           `json:"minimum,omitzero"`
	Maximum       *int64           `json:"maximum,omitzero"`
	Items         *schema          `json:"items,omitzero"`
	MinItems      int              `json:"minItems,omitzero"`
	UniqueItems   bool             `json:"uniqueItems,omitzero"`
	Properties    members[*schema] `json:"properties,omitzero"`
	Required      []string         `json:"required,omitzero"`
	MaxProperties int              `json:"maxProperties,omitzero"`
	PropertyNames *schema          `json:"propertyNames,omitzero"`
	// Additional is false in what we read, where unknown names are refused, a
	// schema in maps, and absent in what we write: more fields may come.
	Additional    any            `json:"additionalProperties,omitzero"`
	OneOf         []*schema      `json:"oneOf,omitzero"`
	Discriminator *discriminator `json:"discriminator,omitzero"`
	Example       jsontext.Value `json:"example,omitzero"`
}

type discriminator struct {
	PropertyName string          `json:"propertyName"`
	Mapping      members[string] `json:"mapping"`
}

// Patterns of text: one line, and lines.
const (
	oneLine   = `^[^\x00-\x1f\x7f-\x9f]*$`
	manyLines = `^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$`
)

const schemas = "#/components/schemas/"

func ref(name string) *schema { return &schema{Ref: schemas + name} }

func text(says string) *schema { return &schema{Type: "string", Description: says} }

// line is the schema of [checker.text], and prose that of [checker.prose]
// with the bound of a description.
func line(most int, says string) *schema { return text(says).long(0, most).like(oneLine) }

func prose(says string) *schema { return text(says).long(0, maxDescription).like(manyLines) }

func (s *schema) long(least, most int) *schema {
	s.MinLength, s.MaxLength = least, most
	return s
}

func (s *schema) like(pattern string) *schema {
	s.Pattern = pattern
	return s
}

func (s *schema) as(format string) *schema {
	s.Format = format
	return s
}

func (s *schema) unless(value any) *schema {
	s.Default = value
	return s
}

func identifier(prefix string) *schema {
	return text("").like("^" + prefix + "_" + idAlphabet + "{26}$")
}

func instantOf(says string) *schema { return text(says).as("date-time") }

func boolean(says string) *schema { return &schema{Type: "boolean", Description: says} }

func integer(says string, least, most int64) *schema {
	return &schema{Type: "integer", Format: "int64", Description: says, Minimum: &least, Maximum: &most}
}

// amountOf is an amount that is asked for; sum is one that we tell, which may be
// nothing.
func amountOf(says string) *schema { return integer(says, 1, payment.MaxMinor) }

func sum(says string) *schema {
	zero := int64(0)
	return &schema{Type: "integer", Format: "int64", Description: says, Minimum: &zero}
}

func milliseconds(says string) *schema {
	zero := int64(0)
	return &schema{Type: "number", Format: "double", Description: says, Minimum: &zero}
}

func oneOfStrings[T ~string](says string, list []T) *schema {
	s := text(says)
	for _, v := range list {
		s.Enum = append(s.Enum, string(v))
	}
	return s
}

func listOf(items *schema, says string) *schema {
	return &schema{Type: "array", Items: items, Description: says}
}

func mapOf(values *schema, says string) *schema {
	return &schema{Type: "object", Additional: values, Description: says}
}

// orNull allows null beside s.
func orNull(s *schema) *schema {
	if s.Ref != "" {
		return &schema{OneOf: []*schema{s, {Type: "null"}}, Description: s.Description}
	}
	name, _ := s.Type.(string)
	s.Type = []string{name, "null"}
	return s
}

// property is a field, and whether it must be there.
type property struct {
	name   string
	schema *schema
	must   bool
}

func must(name string, s *schema) property { return property{name, s, true} }
func may(name string, s *schema) property  { return property{name, s, false} }

// told is an object that we write.
func told(says string, fields ...property) *schema {
	s := &schema{Type: "object", Description: says}
	for _, f := range fields {
		s.Properties.add(f.name, f.schema)
		if f.must {
			s.Required = append(s.Required, f.name)
		}
	}
	return s
}

// asked is an object that we read: names beyond these are refused.
func asked(says string, fields ...property) *schema {
	s := told(says, fields...)
	s.Additional = false
	return s
}

// nullable tells whether null is allowed.
func (s *schema) nullable() bool {
	list, _ := s.Type.([]string)
	return slices.Contains(list, "null") || slices.ContainsFunc(s.OneOf, func(o *schema) bool { return o.Type == "null" })
}
