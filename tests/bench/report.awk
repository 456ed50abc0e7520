# Prints the tables and the JSON of scripts/bench.
#
# Input: rows in the format that scripts/bench describes. Variables: print_what (speed, figures or json),
# samples (a file of `figure TAB subject TAB value`), facts (a file of `name: text`), absent (the programs that
# are not installed). A figure NAME.FIELD has failed if samples has the line `NAME TAB subject TAB failed`.

function load_samples(    line, part, n)
{
	while ((getline line < samples) > 0) {
		split(line, part, "\t")
		n = ++count[part[1], part[2]]
		if (n == 1)
			order[++names] = part[1] SUBSEP part[2]
		sample[part[1], part[2], n] = part[3]
	}
}

function median(figure, of,    n, i, j, v, sorted)
{
	n = count[figure, of]
	for (i = 1; i <= n; i++) {
		v = sample[figure, of, i] + 0
		for (j = i - 1; j && sorted[j] > v; j--)
			sorted[j + 1] = sorted[j]
		sorted[j + 1] = v
	}
	return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
}

function total(figure, of,    i, sum)
{
	for (i = 1; i <= count[figure, of]; i++)
		sum += sample[figure, of, i]
	return sum + 0
}

# The reason why there is no figure; "" if there is one.
function missing(figure, of,    measurement)
{
	measurement = figure
	sub(/\.[^.]*$/, "", measurement)
	if ((measurement, of) in count)
		return "failed"
	if ((figure, of) in count)
		return ""
	return index(absent, " " of " ") ? "not installed" : "-"
}

function format_value(v, unit,    digits)
{
	if (unit == "ms")
		v /= 1e3
	if (unit == "MB")
		v /= 1e6
	digits = unit !~ /^(us|ms|MB)$/ || v >= 100 ? 0 : v < 10 ? 2 : 1
	return sprintf("%.*f", digits, v) (unit ~ /^(\/s)?$/ ? "" : " ") unit
}

function cell(figure, of, unit,    why)
{
	why = missing(figure, of)
	return why == "" ? format_value(median(figure, of), unit) : why
}

function set_cell(row, column, text)
{
	table[row, column] = text
	if (length(text) > width[column])
		width[column] = length(text)
}

function set_titles(list,    i, title)
{
	columns = split(list, title, "|")
	for (i = 1; i <= columns; i++)
		set_cell(0, i, title[i])
}

function print_row(row,    c)
{
	for (c = 1; c <= columns; c++)
		printf(c == 1 ? "| %-" width[c] "s |" : " %" width[c] "s |", table[row, c])
	print ""
}

function print_rule(    c, dashes)
{
	for (c = 1; c <= columns; c++) {
		dashes = sprintf("%" width[c] + 1 "s", "")
		gsub(/ /, "-", dashes)
		printf(c == 1 ? "|:%s|" : "%s:|", dashes)
	}
	print ""
}

function quoted(text)
{
	gsub(/[\\"]/, "\\\\&", text)
	return "\"" text "\""
}

function number_or_null(figure, of)
{
	return missing(figure, of) == "" ? sprintf("%.10g", median(figure, of)) : "null"
}

function print_facts(    line, at, n)
{
	while ((getline line < facts) > 0) {
		at = index(line, ": ")
		printf("%s\n  %s: %s", n++ ? "," : "{", quoted(substr(line, 1, at - 1)),
			quoted(substr(line, at + 2)))
	}
}

function print_figures(    i, j, part, comma)
{
	for (i = 1; i <= names; i++) {
		split(order[i], part, SUBSEP)
		if (missing(part[1], part[2]) != "" || sample[order[i], 1] == "failed")
			continue
		printf("%s\n    {\"figure\": %s, \"of\": %s, \"median\": %s, \"samples\": [", comma,
			quoted(part[1]), quoted(part[2]), number_or_null(part[1], part[2]))
		for (j = 1; j <= count[order[i]]; j++)
			printf("%s%s", j > 1 ? ", " : "", sample[order[i], j])
		printf("]}")
		comma = ","
	}
}

BEGIN {
	FS = "|"
	load_samples()
	if (print_what == "speed")
		set_titles("what|skeld|against|figure|ratio|at most| ")
	else if (print_what == "figures")
		set_titles("what|skeld|bare epoll|bufferevent|bare libevent|no log thread|nginx|memcached|redis")
	subjects = split("skeld epoll bufferevent libevent direct nginx memcached redis-server", subject, " ")
}

# Not selected by --only.
missing($2, "skeld") == "-" {
	next
}

print_what == "speed" {
	set_cell(++rows, 1, $1)
	set_cell(rows, 2, cell($2, "skeld", $7))
	set_cell(rows, 3, $3)
	set_cell(rows, 4, cell($4, $5, $7))
	if ($6 != "")
		set_cell(rows, 6, $6 "x")
	if (missing($2, "skeld") == "" && missing($4, $5) == "") {
		ratio = median($2, "skeld") / median($4, $5)
		set_cell(rows, 5, sprintf("%.2fx", ratio))
		if ($6 != "")
			set_cell(rows, 7, ratio <= $6 && ($8 == "" || !total($8, "skeld")) ? "ok" : "missed")
	}
}

print_what == "figures" {
	set_cell(++rows, 1, $1)
	for (i = 1; i <= subjects; i++)
		if (index(" " $4 " ", " " subject[i] " "))
			set_cell(rows, i + 1, cell($2, subject[i], $3))
}

print_what == "json" {
	speed = speed sprintf("%s\n    {\"what\": %s, \"measured\": %s, \"against\": %s, " \
		"\"reference\": %s, \"at_most\": %s}", speed == "" ? "" : ",", quoted($1),
		number_or_null($2, "skeld"), quoted($3), number_or_null($4, $5), $6 == "" ? "null" : $6)
}

END {
	if (print_what == "json") {
		print_facts()
		printf(",\n  \"speed\": [%s\n  ],\n  \"figures\": [", speed)
		print_figures()
		print "\n  ]\n}"
	} else if (rows) {
		print_row(0)
		print_rule()
		for (row = 1; row <= rows; row++)
			print_row(row)
	}
}
