package schema

import (
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed *.sql
var files embed.FS

// Dialect is what differs between databases.
type Dialect struct {
	Key      string // an integer of 64 bits as primary key
	Integer  string // an integer of 64 bits
	Bytes    string // a string of bytes
	Text     string // a text that is ordered by its bytes
	Strict   string // suffix that makes a table keep to its types
	Numbered bool   // parameters are $1, $2, … and not ?
}

// SQLite keeps an INTEGER PRIMARY KEY as the row's own number; STRICT tables
// refuse values of another type (SQLite 3.37).
func SQLite() Dialect {
	return Dialect{Key: "INTEGER PRIMARY KEY", Integer: "INTEGER", Bytes: "BLOB", Text: "TEXT", Strict: " STRICT"}
}

// PostgreSQL orders text by the database's locale unless it is told otherwise.
func PostgreSQL() Dialect {
	return Dialect{Key: "BIGINT PRIMARY KEY", Integer: "BIGINT", Bytes: "BYTEA", Text: `TEXT COLLATE "C"`, Numbered: true}
}

// Bind writes the parameters of a query, each a question mark, as the database
// wants them. The query has no other question mark.
func (d Dialect) Bind(query string) string {
	if !d.Numbered {
		return query
	}
	var b strings.Builder
	n := 0
	for part := range strings.SplitSeq(query, "?") {
		if n > 0 {
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		}
		b.WriteString(part)
		n++
	}
	return b.String()
}

// Migration brings a database from Version-1 to Version.
type Migration struct {
	Version int
	Name    string // its file, for messages
	SQL     string // one or more statements
}

// Migrations are all migrations in order; the first has version 1.
func Migrations(d Dialect) ([]Migration, error) {
	names, err := fs.Glob(files, "*.sql") // in lexical order
	if err != nil {
		return nil, fmt.Errorf("listing migrations: %w", err)
	}
	words := strings.NewReplacer("{{key}}", d.Key, "{{integer}}", d.Integer, "{{bytes}}", d.Bytes, "{{text}}", d.Text, "{{strict}}", d.Strict)
	migrations := make([]Migration, 0, len(names))
	for i, name := range names {
		if want := fmt.Sprintf("%04d_", i+1); !strings.HasPrefix(name, want) {
			return nil, fmt.Errorf("migration %s should begin with %s", name, want)
		}
		sql, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading migration: %w", err)
		}
		migrations = append(migrations, Migration{Version: i + 1, Name: name, SQL: words.Replace(string(sql))})
	}
	return migrations, nil
}

// CheckVersion refuses a database of a newer schema than this program knows.
func CheckVersion(version, known int) error {
	if version < 0 || version > known {
		return fmt.Errorf("its schema has version %d, and this program knows versions up to %d; run the newer program that wrote it", version, known)
	}
	return nil
}

// CheckCurrent refuses a database that is not of this program's schema, for
// readers, which migrate nothing.
func CheckCurrent(version, known int) error {
	if version >= 0 && version < known {
		return fmt.Errorf("its schema has version %d, this program needs %d; start the server once, which migrates it", version, known)
	}
	return CheckVersion(version, known)
}
