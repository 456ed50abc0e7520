# Inserts the options of the daemon into a manual page: awk -f manual.awk DEFAULTS PAGE
# DEFAULTS is the output of `skeld -T`. It has two comments above each option, the help text and the
# accepted values, and one above each section. A section that may occur several times and does not
# occur has # before each line.

# Returns TEXT as roff(7) input: lines of at most 80 bytes that do not begin like a macro.
function escaped(text,   word, n, i, line, all) {
	gsub(/\\/, "\\e", text)
	n = split(text, word, " ")
	for (i = 1; i <= n; i++) {
		if (line && length(line) + length(word[i]) >= 80) {
			all = all line "\n"
			line = ""
		}
		line = line (line ? " " : word[i] ~ /^[.']/ ? "\\&" : "") word[i]
	}
	return all line
}

BEGIN {
	heading = ".Ss Outside of all sections\n.Bl -tag -width Ds"
}

function begin(name) {
	section = name "."
	heading = ".Ss Section " name "\n" comment[1] "\n.Bl -tag -width Ds"
	comments = 0
}

function add(line) {
	options = options line "\n"
}

FNR == NR && /^#[^ ]/ {
	sub(/^#/, "")
}

FNR == NR && /^\t*# / {
	sub(/^\t*# /, "")
	comment[++comments] = escaped($0)
}

FNR == NR && /^[a-z].* \{$/ {
	begin($1)
	outer = section
}

FNR == NR && /^\t[a-z].* \{$/ { # inside of a section
	begin(outer $1)
}

FNR == NR && /^\t*[a-z][a-z0-9_]* = / {
	sub(/^\t*/, "")
	if (heading) # a section without options gets no heading
		add((n ? ".El\n" : "") heading)
	heading = ""
	add(".It Cm " section $1)
	for (i = 1; i <= comments; i++)
		add(comment[i])
	comments = 0
	n++
}

FNR != NR {
	if ($0 != ".\\\" OPTIONS")
		print
	else if (n)
		printf "%s.El\n", options
	else
		exit 1
}
