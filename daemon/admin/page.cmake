# cmake -DPAGE=page.html -DOUTPUT=page.c -P page.cmake
#
# Writes the page as the C source of page.h. Computes the Content-Security-Policy, which allows the script and
# the style of the page and nothing else.

set(limit 30720) # bytes

# Sets RESULT to the text between <NAME> and </NAME>. Each must occur once, without attributes.
function(inline_text name text result)
	string(TOLOWER "${text}" lower)
	string(REGEX MATCHALL "<${name}[^a-z]" openings "${lower}")
	string(REGEX MATCHALL "</${name}" closings "${lower}")
	list(LENGTH openings opened)
	list(LENGTH closings closed)
	string(FIND "${text}" "<${name}>" begin)
	string(FIND "${text}" "</${name}>" end)
	if(NOT opened EQUAL 1 OR NOT closed EQUAL 1 OR begin EQUAL -1 OR end LESS begin)
		message(FATAL_ERROR "${PAGE}: expected exactly one <${name}>, without attributes")
	endif()
	string(LENGTH "<${name}>" tag)
	math(EXPR begin "${begin} + ${tag}")
	math(EXPR length "${end} - ${begin}")
	string(SUBSTRING "${text}" ${begin} ${length} inside)
	set(${result} "${inside}" PARENT_SCOPE)
endfunction()

# Sets RESULT to the hash of TEXT as 'sha256-BASE64'. CMake provides only the hexadecimal form.
function(policy_hash text result)
	set(digits ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/)
	string(SHA256 hash "${text}")
	string(APPEND hash 00) # 33 bytes: each group of three bytes becomes four digits
	set(base64 "")
	foreach(at RANGE 0 60 6)
		string(SUBSTRING ${hash} ${at} 6 group)
		foreach(shift 18 12 6 0)
			math(EXPR digit "(0x${group} >> ${shift}) & 63")
			string(SUBSTRING ${digits} ${digit} 1 digit)
			string(APPEND base64 ${digit})
		endforeach()
	endforeach()
	string(SUBSTRING ${base64} 0 43 base64) # the last digit is padding only
	set(${result} "'sha256-${base64}='" PARENT_SCOPE)
endfunction()

file(SIZE "${PAGE}" size)
if(size GREATER limit)
	message(FATAL_ERROR "${PAGE}: ${size} bytes, expected at most ${limit}")
endif()
file(READ "${PAGE}" html)
inline_text(script "${html}" script)
inline_text(style "${html}" style)
policy_hash("${script}" script)
policy_hash("${style}" style)

# One character constant for each byte: C guarantees string literals of 4,095 characters only.
file(READ "${PAGE}" bytes HEX)
string(REGEX REPLACE "(..)" "'\\\\x\\1'," bytes "${bytes}")
string(REPEAT "......." 16 row)
string(REGEX REPLACE "(${row})" "\\1\n" bytes "${bytes}")

file(WRITE "${OUTPUT}" "/* Made of page.html by page.cmake. */
#include \"admin/page.h\"

const char page_html[] = {
${bytes}'\\0'};
const size_t page_html_size = sizeof page_html - 1;

const char page_fields[] =
	\"Content-Security-Policy: default-src 'none'; script-src ${script}; \"
	\"style-src ${style}; \"
	\"connect-src 'self'; img-src data:; \"
	\"base-uri 'none'; form-action 'none'; frame-ancestors 'none'\\r\\n\"
	\"Referrer-Policy: no-referrer\\r\\n\";
")
