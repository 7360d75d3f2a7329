/* A PKCS #11 module in front of another one, for what software tokens cannot show: a PIN pad,
   a token that is locked or removed, a mechanism that is missing; and for NSS, which wants
   parameters at C_Initialize. The environment says what to do, at each call:

   ADAPTER_MODULE    the module behind
   ADAPTER_RESERVED  passed to its C_Initialize
   ADAPTER_FLAGS     hexadecimal: set in CK_TOKEN_INFO.flags
   ADAPTER_AFTER     hexadecimal: set there too once a login failed
   ADAPTER_HIDDEN    hexadecimal: taken away there
   ADAPTER_PIN       what is entered at the PIN pad
   ADAPTER_FAIL      "C_Sign 30 2": the next 2 calls of C_Sign return 0x30
   ADAPTER_MECHANISM hexadecimal: this one is not there
   ADAPTER_LOG       a file: gets a line for each C_Login                                       */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long UL;
typedef UL (*FN)();
typedef struct { unsigned char version[2]; FN call[68]; } LIST;
typedef struct { void *create, *destroy, *lock, *unlock; UL flags; void *reserved; } INIT;
enum { INITIALIZE = 0, SLOT_LIST = 4, TOKEN_INFO = 6, OPEN_SESSION = 12, LOGIN = 18, ATTRIBUTE = 24,
       FIND_INIT = 26, SIGN_INIT = 42, SIGN = 43 };

static LIST ours, *real;
static int failed_login;

static UL failure(const char *name)
{
    char text[80], which[40];
    UL value, times;
    const char *set = getenv("ADAPTER_FAIL");
    if (!set || sscanf(set, "%39s %lx %lu", which, &value, &times) != 3 || strcmp(which, name))
        return 0;
    snprintf(text, sizeof text, "%s %lx %lu", which, value, times - 1);
    if (times > 1) setenv("ADAPTER_FAIL", text, 1);
    else unsetenv("ADAPTER_FAIL");
    return value;
}

static UL number(const char *name)
{
    const char *set = getenv(name);
    return set ? strtoul(set, NULL, 16) : 0;
}

static UL initialize(void *given)
{
    INIT arguments = {NULL, NULL, NULL, NULL, 2, getenv("ADAPTER_RESERVED")};
    UL failed = failure("C_Initialize");
    failed_login = 0;
    if (failed) return failed;
    return real->call[INITIALIZE](arguments.reserved ? &arguments : given);
}

static UL slot_list(unsigned char present, void *slots, void *count)
{
    UL failed = failure("C_GetSlotList");
    return failed ? failed : real->call[SLOT_LIST](present, slots, count);
}

static UL token_info(UL slot, unsigned char *info)
{
    UL failed = failure("C_GetTokenInfo"), flags;
    if (failed || (failed = real->call[TOKEN_INFO](slot, info))) return failed;
    memcpy(&flags, info + 96, sizeof flags);
    flags = (flags | number("ADAPTER_FLAGS")) & ~number("ADAPTER_HIDDEN");
    if (failed_login) flags |= number("ADAPTER_AFTER");
    memcpy(info + 96, &flags, sizeof flags);
    return 0;
}

static UL open_session(UL slot, UL flags, void *a, void *b, UL *session)
{
    UL failed = failure("C_OpenSession");
    return failed ? failed : real->call[OPEN_SESSION](slot, flags, a, b, session);
}

static UL login(UL session, UL user, char *pin, UL length)
{
    const char *pad = getenv("ADAPTER_PIN"), *log = getenv("ADAPTER_LOG");
    UL failed = failure("C_Login");
    FILE *file = log ? fopen(log, "a") : NULL;
    if (file) { fprintf(file, "C_Login %lu\n", user); fclose(file); }
    if (failed) return failed;
    if ((!pin || !length) && pad) { pin = (char *)pad; length = strlen(pad); }
    failed = real->call[LOGIN](session, user, pin, length);
    failed_login = failed == 0xa0;
    return failed;
}

static UL attribute(UL session, UL object, void *template, UL count)
{
    UL failed = failure("C_GetAttributeValue");
    return failed ? failed : real->call[ATTRIBUTE](session, object, template, count);
}

static UL find_init(UL session, void *template, UL count)
{
    UL failed = failure("C_FindObjectsInit");
    return failed ? failed : real->call[FIND_INIT](session, template, count);
}

static UL sign_init(UL session, UL *mechanism, UL key)
{
    UL failed = failure("C_SignInit");
    if (!failed && getenv("ADAPTER_MECHANISM") && *mechanism == number("ADAPTER_MECHANISM"))
        failed = 0x70;
    return failed ? failed : real->call[SIGN_INIT](session, mechanism, key);
}

static UL sign(UL session, void *data, UL length, void *signature, UL *size)
{
    UL failed = failure("C_Sign");
    return failed ? failed : real->call[SIGN](session, data, length, signature, size);
}

UL C_GetFunctionList(LIST **list)
{
    void *library = dlopen(getenv("ADAPTER_MODULE"), RTLD_NOW);
    UL (*get)(LIST **) = library ? dlsym(library, "C_GetFunctionList") : NULL;
    if (!get || get(&real)) return 5;
    ours = *real;
    ours.call[INITIALIZE] = initialize;
    ours.call[SLOT_LIST] = slot_list;
    ours.call[TOKEN_INFO] = token_info;
    ours.call[OPEN_SESSION] = open_session;
    ours.call[LOGIN] = login;
    ours.call[ATTRIBUTE] = attribute;
    ours.call[FIND_INIT] = find_init;
    ours.call[SIGN_INIT] = sign_init;
    ours.call[SIGN] = sign;
    *list = &ours;
    return 0;
}
