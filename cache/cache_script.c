/* cache_script.c - see cache_script.h.
 *
 * Times are milliseconds of Redis' own clock.  Deadlines in the past are as good as absent and are
 * taken out by whoever comes along.  A key lives at least as long as the latest deadline in it.
 * A key of another type makes HGET and its kin fail: the caller learns WRONGTYPE and nothing was
 * changed.
 */
#include "cache/cache_script.h"

/* now: the clock. live(w, mine): the writes of w that are still open, without mine, and the latest
 * deadline among them. full(n): a number in all its digits. */
#define CLOCK                                                                                      \
    "local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000)\n"                       \
    "local function full(n) return string.format('%.0f',n) end\n"
#define LIVE                                                                                       \
    "local function live(w,mine) local out,last={},0\n"                                            \
    " if w then for n,d in string.gmatch(w,'(%x+)=(%d+);') do\n"                                   \
    "  if n~=mine and tonumber(d)>now then out[#out+1]=n..'='..d..';'"                             \
    " last=math.max(last,tonumber(d)) end\n"                                                       \
    " end end return table.concat(out),last end\n"
/* keep(last): no shorter life than that. */
#define KEEP                                                                                       \
    "local function keep(last) local p=redis.call('PTTL',KEYS[1])\n"                               \
    " if last>0 and p>=0 and p<last-now+1000 then"                                                 \
    " redis.call('PEXPIRE',KEYS[1],full(last-now+1000)) end end\n"

static const char take_rule[] = CLOCK LIVE /* fresh */
    "local v=redis.call('HMGET',KEYS[1],'g','!w')\n"
    "if live(v[2],'')~='' then return {v[1] or '',1} end\n"
    "if v[2] then redis.call('HDEL',KEYS[1],'!w') end\n"
    "if not v[1] then redis.call('HSET',KEYS[1],'g',ARGV[1]) end\n"
    "return {v[1] or ARGV[1],0}\n";

static const char take_entry[] = CLOCK LIVE /* field nonce ms flag */
    "local v=redis.call('HMGET',KEYS[1],ARGV[1],'!w','!l:'..ARGV[1])\n"
    "if live(v[2],'')~='' then return {0,1} end\n"
    "if v[2] then redis.call('HDEL',KEYS[1],'!w') end\n"
    "if v[1] and ARGV[4]=='0' then return {0,0,v[1]} end\n"
    "if v[3] then local d=string.match(v[3],'=(%d+)')\n"
    " if d and tonumber(d)>now then return {0,0} end end\n"
    "local last=now+tonumber(ARGV[3])\n"
    "local new=redis.call('EXISTS',KEYS[1])==0\n"
    "redis.call('HSET',KEYS[1],'!l:'..ARGV[1],ARGV[2]..'='..full(last))\n"
    "if new then redis.call('PEXPIRE',KEYS[1],full(last-now+1000)) end\n"
    "return {1,0}\n";

/* Variants of one name share its life; the first one decides, so that none lives longer than it
 * may. */
static const char store[] = CLOCK LIVE /* field nonce ttl value */
    "local v=redis.call('HMGET',KEYS[1],'!w','!l:'..ARGV[1])\n"
    "if live(v[1],'')~='' then return 0 end\n"
    "if not v[2] or string.match(v[2],'^(%x+)=')~=ARGV[2] then return 0 end\n"
    "local others=false\n"
    "for _,f in ipairs(redis.call('HKEYS',KEYS[1])) do\n"
    " if string.sub(f,1,1)~='!' and f~=ARGV[1] then others=true end end\n"
    "redis.call('HDEL',KEYS[1],'!l:'..ARGV[1])\n"
    "redis.call('HSET',KEYS[1],ARGV[1],ARGV[4])\n"
    "local p=redis.call('PTTL',KEYS[1])\n"
    "if not others or p<0 or p>tonumber(ARGV[3]) then redis.call('PEXPIRE',KEYS[1],ARGV[3]) end\n"
    "return 1\n";

static const char give[] = /* field nonce */
    "local v=redis.call('HGET',KEYS[1],'!l:'..ARGV[1])\n"
    "if v and string.match(v,'^(%x+)=')==ARGV[2] then"
    " return redis.call('HDEL',KEYS[1],'!l:'..ARGV[1]) end\n"
    "return 0\n";

static const char keep[] = CLOCK LIVE /* field ttl value */
    "if live(redis.call('HGET',KEYS[1],'!w'),'')~='' then return 0 end\n"
    "redis.call('HSET',KEYS[1],ARGV[1],ARGV[3])\n"
    "local p=redis.call('PTTL',KEYS[1])\n"
    "if p<0 or p>tonumber(ARGV[2]) then redis.call('PEXPIRE',KEYS[1],ARGV[2]) end\n"
    "return 1\n";

static const char begin[] = CLOCK LIVE /* nonce ms */
    "local w,last=live(redis.call('HGET',KEYS[1],'!w'),ARGV[1])\n"
    "local mine=now+tonumber(ARGV[2])\n"
    "redis.call('DEL',KEYS[1])\n"
    "redis.call('HSET',KEYS[1],'!w',w..ARGV[1]..'='..full(mine)..';')\n"
    "redis.call('PEXPIRE',KEYS[1],full(math.max(last,mine)-now+1000))\n"
    "return 1\n";

static const char end[] = CLOCK LIVE /* nonce */
    "local w,last=live(redis.call('HGET',KEYS[1],'!w'),ARGV[1])\n"
    "redis.call('DEL',KEYS[1])\n"
    "if w~='' then redis.call('HSET',KEYS[1],'!w',w)\n"
    " redis.call('PEXPIRE',KEYS[1],full(last-now+1000)) end\n"
    "return 1\n";

static const char rule_begin[] = CLOCK LIVE /* nonce ms fresh */
    "local w=live(redis.call('HGET',KEYS[1],'!w'),ARGV[1])\n"
    "redis.call('HSET',KEYS[1],'g',ARGV[3],'!w',w..ARGV[1]..'='..full(now+tonumber(ARGV[2]))..';')"
    "\n"
    "return 1\n";

static const char rule_end[] = CLOCK LIVE /* nonce fresh */
    "local w=live(redis.call('HGET',KEYS[1],'!w'),ARGV[1])\n"
    "redis.call('HSET',KEYS[1],'g',ARGV[2])\n"
    "if w=='' then redis.call('HDEL',KEYS[1],'!w') else redis.call('HSET',KEYS[1],'!w',w) end\n"
    "return 1\n";

/* The world, then our own presence. A world that was lost is in quarantine until all who were
 * present when that happened have come back or are known to be gone. Where a process of our name
 * lives, nothing is changed. Who comes with other rules takes its own former place. Who did not
 * know what definitions others have changed may have misjudged its writes: the epoch changes. */
static const char renew[] = CLOCK /* name incarnation deadline fresh dirty period known defines */
    "local was=redis.call('GET',KEYS[2])\n"
    "if was and was~=ARGV[2] then\n"
    " return redis.error_reply('TAKEN another process has the name '..ARGV[1]) end\n"
    "local v=redis.call('HMGET',KEYS[1],'e','m','q','d')\n"
    "local e,m,q,d=v[1],v[2] or '',v[3],v[4] or '0'\n"
    "if ARGV[8]=='1' then d=full(redis.call('HINCRBY',KEYS[1],'d',1)) end\n"
    "if not e then e=ARGV[4] m='' q=full(now+tonumber(ARGV[6])*2)\n"
    " redis.call('HSET',KEYS[1],'e',e,'q',q) end\n"
    "if not string.find(','..m..',',','..ARGV[1]..',',1,true) then\n"
    " local base=string.match(ARGV[1],'^(.*)/') or ARGV[1]\n"
    " local others=''\n"
    " local at=string.find(KEYS[2],ARGV[1],1,true)\n"
    " for n in string.gmatch(m,'[^,]+') do\n"
    "  if (string.match(n,'^(.*)/') or n)~=base then others=others..n..','\n"
    "  else was=redis.call('GET',string.sub(KEYS[2],1,at-1)..n..string.sub(KEYS[2],at+#ARGV[1]))\n"
    "   if was and was~=ARGV[2] then\n"
    "    return redis.error_reply('TAKEN another process has the name '..n) end end end\n"
    " m=others..ARGV[1] e=ARGV[4] redis.call('HSET',KEYS[1],'e',e,'m',m) end\n"
    "if ARGV[5]=='1' or d~=ARGV[7] then e=ARGV[4] redis.call('HSET',KEYS[1],'e',e) end\n"
    "if q and tonumber(q)<=now then redis.call('HDEL',KEYS[1],'q') q=false end\n"
    "redis.call('SET',KEYS[2],ARGV[2])\n"
    "redis.call('PEXPIREAT',KEYS[2],ARGV[3])\n"
    "return {e,m,q and 1 or 0,full(now),d}\n";

static const char leave[] = /* name fresh defines; what it left unrecorded is void with the epoch */
    "local m=redis.call('HGET',KEYS[1],'m') or ''\n"
    "local out=''\n"
    "for n in string.gmatch(m,'[^,]+') do if n~=ARGV[1] then\n"
    " if out=='' then out=n else out=out..','..n end end end\n"
    "redis.call('HSET',KEYS[1],'m',out,'e',ARGV[2])\n"
    "if ARGV[3]=='1' then redis.call('HINCRBY',KEYS[1],'d',1) end\n"
    "redis.call('DEL',KEYS[2])\n"
    "return 1\n";

/* there(n): a member's presence, on this server. */
#define THERE                                                                                      \
    "local function there(n)"                                                                      \
    " return redis.call('EXISTS',ARGV[1]..':'..n..':'..ARGV[2]) end\n"

static const char census[] = THERE /* presences server */
    "local out={}\n"
    "for n in string.gmatch(redis.call('HGET',KEYS[1],'m') or '','[^,]+') do"
    " out[#out+1]=n..'='..there(n) end\n"
    "return table.concat(out,',')\n";

/* With its rules or without. Nothing is changed when it is there, and what it may have left
 * unrecorded is void with the epoch. */
static const char forget[] = THERE /* presences server name fresh */
    "local out,found={},false\n"
    "for n in string.gmatch(redis.call('HGET',KEYS[1],'m') or '','[^,]+') do\n"
    " if n~=ARGV[3] and string.match(n,'^(.*)/')~=ARGV[3] then out[#out+1]=n\n"
    " elseif there(n)==1 then return 2 else found=true end end\n"
    "if not found then return 0 end\n"
    "redis.call('HSET',KEYS[1],'m',table.concat(out,','),'e',ARGV[4])\n"
    "return 1\n";

const char *cache_script_text(enum cache_cmd_kind kind)
{
    switch (kind) {
    case CACHE_CMD_TAKE_RULE:
        return take_rule;
    case CACHE_CMD_TAKE_ENTRY:
        return take_entry;
    case CACHE_CMD_STORE:
        return store;
    case CACHE_CMD_GIVE:
        return give;
    case CACHE_CMD_KEEP:
        return keep;
    case CACHE_CMD_BEGIN:
        return begin;
    case CACHE_CMD_END:
    case CACHE_CMD_DROP:
        return end;
    case CACHE_CMD_RULE_BEGIN:
        return rule_begin;
    case CACHE_CMD_RULE_END:
        return rule_end;
    case CACHE_CMD_RENEW:
        return renew;
    case CACHE_CMD_LEAVE:
        return leave;
    case CACHE_CMD_CENSUS:
        return census;
    case CACHE_CMD_FORGET:
        return forget;
    case CACHE_CMD_TIME:
    case CACHE_CMD_WORLD:
    case CACHE_CMD_MEMBERS:
    case CACHE_CMD_RULE:
    case CACHE_CMD_ENTRY:
    case CACHE_CMD_COUNT:
        break;
    }
    return NULL;
}
