package schema_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/store/schema"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

func TestMigrationsAreNumberedAndLeaveNoPlaceholder(t *testing.T) {
	for _, dialect := range []schema.Dialect{schema.SQLite(), schema.PostgreSQL()} {
		migrations, err := schema.Migrations(dialect)
		require.NoError(t, err)
		require.NotEmpty(t, migrations)
		for i, m := range migrations {
			require.Equal(t, i+1, m.Version)
			require.NotContains(t, m.SQL, "{{")
		}
	}
}

func TestParametersAreBoundInOrder(t *testing.T) {
	const query = "SELECT a FROM b WHERE c = ? AND d IN (?, ?) LIMIT ?"
	require.Equal(t, query, schema.SQLite().Bind(query))
	require.Equal(t, "SELECT a FROM b WHERE c = $1 AND d IN ($2, $3) LIMIT $4", schema.PostgreSQL().Bind(query))
	require.Equal(t, "SELECT 1", schema.PostgreSQL().Bind("SELECT 1"))
}
