# SKELD_ECHO: the daemon that the tests of the skeleton drive. It always serves echo, so that another
# service breaks no test. Where daemon/service/ is echo it is the daemon itself; otherwise it is built from
# tests/integration/services/echo.c.
set(SKELD_ECHO skeld)
set(SKELD_ECHO_SOURCE ${PROJECT_SOURCE_DIR}/daemon/service/echo.c)
if(EXISTS ${PROJECT_SOURCE_DIR}/tests/integration/services/echo.c)
	set(SKELD_ECHO skeld_echo)
	set(SKELD_ECHO_SOURCE ${PROJECT_SOURCE_DIR}/tests/integration/services/echo.c)
	if(NOT TARGET skeld_echo)
		add_executable(skeld_echo ${PROJECT_SOURCE_DIR}/daemon/main.c ${SKELD_ECHO_SOURCE})
		target_link_libraries(skeld_echo PRIVATE skeld_core)
		# Named like the daemon, because tests match the name in its messages.
		set_target_properties(skeld_echo PROPERTIES OUTPUT_NAME skeld
			RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/echo)
	endif()
endif()

# EXAMPLE_SERVICES: the example services, each the file that defines the service. example_parts: the other files of
# this folder, parsers and the like; the services and their unit tests link what they need.
set(EXAMPLE_SERVICES)
set(parts)
file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/integration/services/*.c)
foreach(source ${sources})
	file(STRINGS ${source} definition REGEX "^const struct service service = ")
	if(definition)
		list(APPEND EXAMPLE_SERVICES ${source})
	else()
		list(APPEND parts ${source})
	endif()
endforeach()
if(NOT TARGET example_parts AND parts)
	add_library(example_parts STATIC ${parts})
	target_include_directories(example_parts PUBLIC ${PROJECT_SOURCE_DIR}/tests/integration/services)
	target_link_libraries(example_parts PUBLIC Threads::Threads)
elseif(NOT TARGET example_parts) # a project may have removed them
	add_library(example_parts INTERFACE)
endif()
