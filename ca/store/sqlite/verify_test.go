package sqlite

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/store/journal"
)

func TestVerifyFindsTampering(t *testing.T) {
	sound := soundDatabase(t)
	for name, row := range map[string]struct {
		sql  []string
		want string
	}{
		"a record with one bit changed": {
			[]string{"UPDATE records SET body = CAST(substr(body, 1, 40) || x'ff' || substr(body, 42) AS BLOB) WHERE seq = 700"},
			"log of records: rows 700 to 700 are not what was written",
		},
		"a record that was removed":        {[]string{"DELETE FROM records WHERE seq = 700"}, "log of records: row 700 is missing"},
		"the first record removed":         {[]string{"DELETE FROM records WHERE seq = 1"}, "log of records: row 1 is missing"},
		"two records that changed places":  {[]string{"UPDATE records SET seq = -1 WHERE seq = 5", "UPDATE records SET seq = 5 WHERE seq = 6", "UPDATE records SET seq = 6 WHERE seq = -1"}, "log of records: rows 5 to 5 are not"},
		"a record without its hash":        {[]string{"UPDATE records SET head = NULL WHERE seq = 700"}, "log of records: rows 700 to 701 are not"},
		"a record with another's hash":     {[]string{"UPDATE records SET head = (SELECT head FROM records WHERE seq = 699) WHERE seq = 700"}, "rows 700 to 700 are not"},
		"a record that was put in":         {[]string{"INSERT INTO records (seq, body, head) SELECT seq + 1, body, head FROM records ORDER BY seq DESC LIMIT 1"}, "rows 2501 to 2501 are not"},
		"a filter that hides its records":  {[]string{"UPDATE segments SET filter = zeroblob(3072) WHERE first_seq = 1"}, "the summary of records 1 to 1024 is not theirs"},
		"a filter bit in the next segment": {[]string{"UPDATE segments SET filter = CAST(x'ffff' || substr(filter, 3) AS BLOB) WHERE first_seq = 1025"}, "the summary of records 1025 to 2048 is not theirs"},
		"a segment's time":                 {[]string{"UPDATE segments SET issued_max = issued_max - 1 WHERE first_seq = 1"}, "is not theirs"},
		"a segment's end of life":          {[]string{"UPDATE segments SET not_after_max = 0 WHERE first_seq = 1025"}, "is not theirs"},
		"a segment that was removed":       {[]string{"DELETE FROM segments WHERE first_seq = 1"}, "is not theirs"},
		"a segment of what is not there": {
			[]string{"INSERT INTO segments SELECT 9000, 9999, issued_min, issued_max, not_after_max, filter FROM segments WHERE first_seq = 1"},
			"there is a summary of records up to 9999, and the last record is 2500",
		},
		"an event that was changed":     {[]string{`UPDATE events SET body = replace(body, 'uid:0', 'uid:1') WHERE seq = 2`}, "log of events: rows 2 to 2 are not"},
		"an event that was removed":     {[]string{"DELETE FROM events WHERE seq = 1"}, "log of events: row 1 is missing"},
		"a void that was removed":       {[]string{"DELETE FROM voids WHERE seq = 1"}, "log of voids: row 1 is missing"},
		"a void with another reason":    {[]string{"UPDATE voids SET reason = 'x' WHERE seq = 2"}, "log of voids: rows 2 to 2 are not"},
		"a void of another record":      {[]string{"UPDATE voids SET record_seq = 99 WHERE seq = 2"}, "log of voids: rows 2 to 2 are not"},
		"the end of the log without it": {[]string{"DELETE FROM events WHERE seq = 3", "UPDATE events SET head = NULL WHERE seq = 2"}, "log of events: its last row 2 has no hash"},
		"all events gone, a record left": {
			[]string{"DELETE FROM events", "INSERT INTO events (seq, body, head) SELECT 1, 'x', head FROM records WHERE seq = 1"},
			"log of events: rows 1 to 1 are not",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := storeDir(t)
			require.NoError(t, os.Mkdir(dir, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), sound, 0o600))
			for _, sql := range row.sql {
				tamper(t, dir, sql)
			}
			s, err := Open(Config{Dir: dir, ReadOnly: true})
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			_, err = s.Verify(t.Context())
			require.ErrorContains(t, err, row.want)
		})
	}
}

// soundDatabase has two segments and every log in use. Each record has a commit of
// its own.
func soundDatabase(t *testing.T) []byte {
	t.Helper()
	dir := storeDir(t)
	s := openStore(t, dir)
	intend(t, s, 0, 2500)
	for n := range 3 {
		require.NoError(t, s.Append(t.Context(), ca.Event{Actor: "uid:0", Action: "test"}))
		require.NoError(t, s.Void(t.Context(), benchRecord(n*900).Serial, "signing failed"))
	}
	require.EqualValues(t, 2500, count(t, s))
	require.NoError(t, s.Close())
	content, err := os.ReadFile(filepath.Join(dir, fileName))
	require.NoError(t, err)
	return content
}

// What Verify alone cannot find, a noted head does.
func TestHeadFindsALogThatWasCutOff(t *testing.T) {
	dir := storeDir(t)
	s := openStore(t, dir)
	seq, head, err := s.Head(t.Context(), journal.Records)
	require.NoError(t, err)
	require.Zero(t, seq)
	require.Equal(t, journal.Records.Origin(), head)

	intend(t, s, 0, 10)
	seq, head, err = s.Head(t.Context(), journal.Records)
	require.NoError(t, err)
	require.EqualValues(t, 10, seq)
	require.NoError(t, s.Close())

	tamper(t, dir, "DELETE FROM records WHERE seq > 8")
	s = openStore(t, dir)
	require.EqualValues(t, 8, count(t, s))
	intend(t, s, 20, 22)
	seq, other, err := s.Head(t.Context(), journal.Records)
	require.NoError(t, err)
	require.EqualValues(t, 10, seq)
	require.NotEqual(t, head, other)
}
