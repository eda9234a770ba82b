package schema_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/store/schema"
)

func TestMigrationsAreNumberedAndLeaveNoPlaceholder(t *testing.T) {
	migrations, err := schema.Migrations(schema.SQLite())
	require.NoError(t, err)
	require.NotEmpty(t, migrations)
	for i, m := range migrations {
		require.Equal(t, i+1, m.Version)
		require.NotContains(t, m.SQL, "{{")
	}
}
