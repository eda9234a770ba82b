package authn

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func scan(text string) error {
	s := scanner{data: []byte(text)}
	if err := s.skip(); err != nil {
		return err
	}
	return s.end()
}

func TestScannerRefusals(t *testing.T) {
	for _, row := range []struct {
		name, text string
		err        error
	}{
		{"nothing", "", errJSONSyntax},
		{"two values", "1 2", errJSONSyntax},
		{"object open", `{"a":1`, errJSONSyntax},
		{"array open", `[1`, errJSONSyntax},
		{"string open", `"a`, errJSONSyntax},
		{"string ends in an escape", `"a\`, errJSONSyntax},
		{"comma at the end of an object", `{"a":1,}`, errJSONSyntax},
		{"comma at the end of an array", `[1,]`, errJSONSyntax},
		{"name without quotes", `{a:1}`, errJSONSyntax},
		{"single quotes", `{'a':1}`, errJSONSyntax},
		{"no colon", `{"a" 1}`, errJSONSyntax},
		{"comment", `{/**/"a":1}`, errJSONSyntax},
		{"byte order mark", "\xef\xbb\xbf{}", errJSONSyntax},
		{"plus sign", `+1`, errJSONSyntax},
		{"leading zero", `01`, errJSONSyntax},
		{"no digit before the point", `.5`, errJSONSyntax},
		{"no digit after the point", `1.`, errJSONSyntax},
		{"no digit in the exponent", `1e`, errJSONSyntax},
		{"two signs in the exponent", `1e+-1`, errJSONSyntax},
		{"hexadecimal", `0x10`, errJSONSyntax},
		{"infinity", `Infinity`, errJSONSyntax},
		{"word in another case", `True`, errJSONSyntax},
		{"word cut", `tru`, errJSONSyntax},
		{"control character in a string", "\"a\nb\"", errJSONSyntax},
		{"unknown escape", `"\x41"`, errJSONSyntax},
		{"short escape", `"\u00e"`, errJSONSyntax},
		{"escape with a sign", `"\u+041"`, errJSONSyntax},
		{"high surrogate alone", `"\ud800"`, errJSONSyntax},
		{"low surrogate alone", `"\udc00"`, errJSONSyntax},
		{"surrogates in the wrong order", `"\udc00\ud800"`, errJSONSyntax},
		{"high surrogate before another escape", `"\ud800\u0041"`, errJSONSyntax},
		{"invalid UTF-8", "\"\xff\"", errJSONSyntax},
		{"overlong UTF-8", "\"\xc0\xaf\"", errJSONSyntax},
		{"name twice", `{"a":1,"a":1}`, errJSONDuplicate},
		{"name twice, once escaped", `{"a":1,"\u0061":1}`, errJSONDuplicate},
		{"name twice inside", `[{"a":{"b":1,"b":2}}]`, errJSONDuplicate},
		{"17 deep", strings.Repeat("[", 17) + strings.Repeat("]", 17), errJSONLimit},
		{"129 members", manyMembers(129), errJSONLimit},
	} {
		t.Run(row.name, func(t *testing.T) { require.Equal(t, row.err, scan(row.text)) })
	}
	require.NoError(t, scan(manyMembers(128)))
	require.NoError(t, scan(strings.Repeat("[", 16)+strings.Repeat("]", 16)))
	require.NoError(t, scan(" {\"a\" : [ 1 , -0.5e+10, \"\\\"\\u00e9\\ud83d\\ude00\" , null,true,false,{} ,[]] }\r\n\t"))
}

func manyMembers(n int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + strings.Repeat("n", i) + `":1`)
	}
	return b.String() + "}"
}

// FuzzScanner holds the scanner against encoding/json: what it accepts, the
// other accepts too and reads the same from it.
func FuzzScanner(f *testing.F) {
	for _, seed := range []string{`{"a":"\u0041\n","b":[1,2.5e3]}`, `"\ud83d\ude00"`, `{"a":{"a":"x"}}`, `{"a":1,"a":2}`, `-0`, "\"\xff\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if scan(string(text)) != nil {
			return
		}
		require.True(t, json.Valid(text))
		var want map[string]json.RawMessage
		if json.Unmarshal(text, &want) != nil || want == nil {
			return // valid, but no object
		}
		got := make(map[string]string)
		s := scanner{data: text}
		require.NoError(t, s.object(func(name []byte) error {
			start := s.pos
			if s.peek() != '"' {
				err := s.skip()
				got[string(name)] = string(bytes.TrimSpace(text[start:s.pos]))
				return err
			}
			value, err := s.text()
			quoted, _ := json.Marshal(string(value))
			got[string(name)] = string(quoted)
			return err
		}))
		require.Len(t, got, len(want), "no name is folded or repaired into another")
		for name, raw := range want {
			if raw[0] != '"' {
				require.Equal(t, string(raw), got[name])
				continue
			}
			var value string
			require.NoError(t, json.Unmarshal(raw, &value))
			quoted, err := json.Marshal(value)
			require.NoError(t, err)
			require.Equal(t, string(quoted), got[name])
		}
	})
}
