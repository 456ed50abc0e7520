# cmake -DPAGE=page.html -DOUTPUT=page.c -P page.cmake
#
# Turns the page into the C source that page.h declares, and computes the policy that lets its one
# script and its one style run and nothing else.

set(limit 30720) # bytes; what is larger than this is no status page any more

# Prints what is between <NAME> and </NAME>, which stand once each and have no attributes.
function(inline_text name text result)
	string(TOLOWER "${text}" lower)
	string(REGEX MATCHALL "<${name}[^a-z]" openings "${lower}")
	string(REGEX MATCHALL "</${name}" closings "${lower}")
	list(LENGTH openings opened)
	list(LENGTH closings closed)
	string(FIND "${text}" "<${name}>" begin)
	string(FIND "${text}" "</${name}>" end)
	if(NOT opened EQUAL 1 OR NOT closed EQUAL 1 OR begin EQUAL -1 OR end LESS begin)
		message(FATAL_ERROR "${PAGE}: <${name}> has to stand there exactly once, without attributes")
	endif()
	string(LENGTH "<${name}>" tag)
	math(EXPR begin "${begin} + ${tag}")
	math(EXPR length "${end} - ${begin}")
	string(SUBSTRING "${text}" ${begin} ${length} inside)
	set(${result} "${inside}" PARENT_SCOPE)
endfunction()

# 'sha256-BASE64', as a policy names a text. CMake has the hash in hexadecimal only.
function(policy_hash text result)
	set(digits ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/)
	string(SHA256 hash "${text}")
	string(APPEND hash 00) # 33 bytes: groups of three that become four digits each
	set(base64 "")
	foreach(at RANGE 0 60 6)
		string(SUBSTRING ${hash} ${at} 6 group)
		foreach(shift 18 12 6 0)
			math(EXPR digit "(0x${group} >> ${shift}) & 63")
			string(SUBSTRING ${digits} ${digit} 1 digit)
			string(APPEND base64 ${digit})
		endforeach()
	endforeach()
	string(SUBSTRING ${base64} 0 43 base64) # the last digit holds the padding alone
	set(${result} "'sha256-${base64}='" PARENT_SCOPE)
endfunction()

file(SIZE "${PAGE}" size)
if(size GREATER limit)
	message(FATAL_ERROR "${PAGE}: ${size} bytes, at most ${limit}")
endif()
file(READ "${PAGE}" html)
inline_text(script "${html}" script)
inline_text(style "${html}" style)
policy_hash("${script}" script)
policy_hash("${style}" style)

# Character by character: a string literal of this length is more than C promises to take.
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
