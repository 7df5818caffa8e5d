/* Beside a transport: a symbol that nobody but its descriptor should be. */
int unixsock_helper(void);

__attribute__((visibility("default"))) int unixsock_helper(void)
{
    return 1;
}
