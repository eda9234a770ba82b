# Reads the output of go test -v, in which that of a package ends with its verdict.

/^=== (RUN|CONT|NAME) / { test = $3 }
/^ *[A-Za-z_0-9]+\.go:[0-9]+: / {
	# What a test said last before it was skipped is why.
	said[test] = $0
	sub(/^ *[A-Za-z_0-9]+\.go:[0-9]+: /, "", said[test])
}
/^ *--- SKIP: / { skipped[++skips] = $3 ": " said[$3] }

/^(ok|\?) *\t/ { print; output = ""; fflush(); next }
/^FAIL\t/ { printf "%s%s\n", output, $0; output = ""; fflush(); next }
{ output = output $0 "\n" }

END {
	if (output !~ /^(FAIL\n)?$/) printf "%s", output # what has no verdict did not compile, or is no test
	for (i = 1; i <= skips; i++) print "skipped: " skipped[i]
}
