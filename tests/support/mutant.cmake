# skeld_mutants(prefix SOURCES source... LINK library...)
#
# Programs with a mistake each, that a test has to find: PREFIX_NAME for each line "NAME FILE ..." that
# ./mutants prints, of SOURCES and its mutant of daemon/FILE; see mutant.sh. The target `mutants` builds
# all of them: they are many, and their tests are among those of `scripts/test --all`.
add_custom_target(mutants)

function(skeld_mutants prefix)
	cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK")
	set(script ${CMAKE_CURRENT_SOURCE_DIR}/mutants)
	set(replace ${PROJECT_SOURCE_DIR}/tests/support/mutant.sh)
	set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${script})
	execute_process(COMMAND ${script} OUTPUT_VARIABLE lines COMMAND_ERROR_IS_FATAL ANY)
	string(REGEX MATCHALL "[^\n]+" lines "${lines}")
	foreach(line ${lines})
		separate_arguments(line)
		list(POP_FRONT line name file)
		set(source ${PROJECT_SOURCE_DIR}/daemon/${file})
		set(mutant ${CMAKE_CURRENT_BINARY_DIR}/${name}.c)
		# One that cannot be made any more fails the test, not the build.
		add_custom_command(OUTPUT ${mutant} VERBATIM DEPENDS ${script} ${replace} ${source}
			COMMAND ${script} ${name} ${source} ${mutant} || true)
		add_executable(${prefix}_${name} EXCLUDE_FROM_ALL ${mutant} ${arg_SOURCES})
		target_compile_definitions(${prefix}_${name} PRIVATE
			$<TARGET_PROPERTY:skeld_core,COMPILE_DEFINITIONS>)
		target_link_libraries(${prefix}_${name} PRIVATE ${arg_LINK})
		add_dependencies(mutants ${prefix}_${name})
	endforeach()
endfunction()
