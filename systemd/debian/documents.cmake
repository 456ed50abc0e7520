# cpack runs this script after the install and before packing. The script adds the files that only a package has.
if(NOT CPACK_PACKAGING_INSTALL_PREFIX STREQUAL "/usr")
	message(FATAL_ERROR "This build is for ${CPACK_PACKAGING_INSTALL_PREFIX}. For a Debian package, configure it with "
		"-DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_INSTALL_SYSCONFDIR=/etc")
endif()
set(share ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr/share)
set(doc ${share}/doc/${CPACK_PACKAGE_NAME})

# string(TIMESTAMP) uses SOURCE_DATE_EPOCH, if it is set.
string(TIMESTAMP now "%a, %d %b %Y %H:%M:%S +0000" UTC)
file(WRITE ${doc}/changelog.Debian
	"${CPACK_PACKAGE_NAME} (${CPACK_PACKAGE_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}) UNRELEASED; urgency=medium\n\n"
	"  * Version ${CPACK_PACKAGE_VERSION}.\n\n"
	" -- ${CPACK_PACKAGE_CONTACT}  ${now}\n")
file(COPY_FILE ${CPACK_RESOURCE_FILE_LICENSE} ${doc}/copyright)

file(WRITE ${share}/lintian/overrides/${CPACK_PACKAGE_NAME}
	"# The package is not in Debian, so there is no bug to close.\n"
	"${CPACK_PACKAGE_NAME}: initial-upload-closes-no-bugs\n")

file(GLOB manual ${share}/man/man*/*.[1-8])
execute_process(COMMAND gzip -9n ${doc}/changelog.Debian ${manual} COMMAND_ERROR_IS_FATAL ANY)

# The permissions of the files must not depend on the umask of the builder.
execute_process(COMMAND chmod -R u=rwX,go=rX ${CPACK_TEMPORARY_INSTALL_DIRECTORY} COMMAND_ERROR_IS_FATAL ANY)
