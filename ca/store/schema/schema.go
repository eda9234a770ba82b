package schema

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed *.sql
var files embed.FS

// Dialect is what differs between databases.
type Dialect struct {
	Key     string // an integer of 64 bits as primary key
	Integer string // an integer of 64 bits
	Bytes   string // a string of bytes
	Text    string // a text that is ordered by its bytes
	Strict  string // suffix that makes a table keep to its types
}

// SQLite keeps an INTEGER PRIMARY KEY as the row's own number; STRICT tables
// refuse values of another type (SQLite 3.37).
func SQLite() Dialect {
	return Dialect{Key: "INTEGER PRIMARY KEY", Integer: "INTEGER", Bytes: "BLOB", Text: "TEXT", Strict: " STRICT"}
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
