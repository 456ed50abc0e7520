# Puts the options that `skeld -T` prints, the first file, into the manual page that is the second.
# Above each option stand two comments, its help and what it accepts; above each section its help.

# As roff(7) wants text: no line over 80 bytes, none that begins as a macro does.
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

function add(line) {
	options = options line "\n"
}

FNR == NR && /^\t*# / {
	sub(/^\t*# /, "")
	comment[++comments] = escaped($0)
}

FNR == NR && /^[a-z].* \{$/ {
	section = $1 "."
	heading = ".Ss Section " $1 "\n" comment[1] "\n.Bl -tag -width Ds"
	comments = 0
}

FNR == NR && /^\t*[a-z][a-z0-9_]* = / {
	sub(/^\t*/, "")
	if (heading) # of a section that has options
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
