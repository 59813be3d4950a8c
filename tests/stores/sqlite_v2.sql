PRAGMA application_id=1634953057;
PRAGMA user_version=2;
BEGIN TRANSACTION;
CREATE TABLE counters (
        key TEXT NOT NULL PRIMARY KEY, hits INTEGER NOT NULL, last_at REAL NOT NULL, until REAL NOT NULL
        ) WITHOUT ROWID;
INSERT INTO "counters" VALUES('name:alice',1,1.80000000137345600118e+09,1.80000006137345600135e+09);
CREATE TABLE ended (
        sid TEXT NOT NULL PRIMARY KEY, user_id TEXT, reason TEXT NOT NULL, tokens_until REAL NOT NULL,
        until REAL NOT NULL) WITHOUT ROWID;
INSERT INTO "ended" VALUES('00ended','bob','logout',0.0,1.80000360137345600131e+09);
CREATE TABLE eras (era INTEGER NOT NULL PRIMARY KEY, reason TEXT NOT NULL, at REAL NOT NULL);
INSERT INTO "eras" VALUES(0,'revoked',1800000000.0);
CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT, nonce TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL);
INSERT INTO "events" VALUES(1,'d61d0f0ee7974877','keys','{}');
INSERT INTO "events" VALUES(2,'c6a86c4fdff2e36b','user','{"id":"alice","revision":1,"ended_below":0,"kept":null}');
INSERT INTO "events" VALUES(3,'ba8425a526cf27db','user','{"id":"bob","revision":1,"ended_below":0,"kept":null}');
INSERT INTO "events" VALUES(4,'e4e8c757f0d0dcc6','all','{"era":1}');
INSERT INTO "events" VALUES(5,'5fdcb6fb94d287e4','changed','{"sid":"00cookie","data_version":0}');
INSERT INTO "events" VALUES(6,'5ffd23037e103a7b','changed','{"sid":"00cookie","data_version":1}');
INSERT INTO "events" VALUES(7,'2ae22579298923bf','ended','{"sid":"00ended","user":"bob","reason":"logout","tokens_until":0.0}');
CREATE TABLE sessions (
        sid TEXT NOT NULL PRIMARY KEY, user_id TEXT, ends_at REAL NOT NULL, tokens_until REAL NOT NULL,
        record TEXT NOT NULL, data TEXT NOT NULL);
INSERT INTO "sessions" VALUES('00before','alice',1800001000.0,0.0,'{"b":"session","m":"{\"pwd\":1800000000.0}","h":"6db7d803e74f1ffa7d8f5adc0bf95b3e15bf4c8373fffadf546227cc6c6742cb","c":"1800000000.0","s":"1800000000.0","l":"1800000000.0","i":"1000.0","j":"1800001000.0","e":"1800010000.0","r":"1","n":"0"}','{}');
INSERT INTO "sessions" VALUES('00cookie','alice',1800001001.25,0.0,'{"b":"session","a":"203.0.113.0","g":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0","m":"{\"pwd\":1800000001.25}","k":"1","h":"dea377cac0fb2c6bfe8793ae282bf008b65b3aef6687d315200740ffa0847b4f","p":"d7e83e28a04b537e64424546b14caf9b67bad2f28dabce68116e0d372319fa00","c":"1800000001.25","s":"1800000001.25","l":"1800000001.25","i":"1000.0","j":"1800001001.25","e":"1800010001.25","q":"1800000031.25","r":"1","n":"1","v":"1"}','{"cart":"[1,2]","name":"\"Zo\u00eb\"","theme":"\"dark\""}');
INSERT INTO "sessions" VALUES('00bearer','bob',1.80000100137345600123e+09,1.80000060137345600126e+09,'{"b":"jwt","m":"{\"pwd\":1800000001.373456}","c":"1800000001.373456","s":"1800000001.373456","l":"1800000001.373456","i":"1000.0","j":"1800001001.373456","e":"1800010001.373456","r":"1","n":"1","C":"app","N":"2","H":"949167a5f2a0e16fccfd83a2d9fc55366181225a9ce2dba35feff7fe422f2833","P":"2454ad61c2acc04f0a20fabf7f2bc96f28d19c434052fdefdbb51b46fe534f89","O":"nonce-bearer2","A":"","M":"1800000001.373456"}','{}');
INSERT INTO "sessions" VALUES('00visitor',NULL,1.80000100137345600123e+09,0.0,'{"b":"session","m":"{}","h":"5f14f9e6d80f802a65269804f2552ef9889f2c7ccec5067214e58a1e48e0b3ff","c":"1800000001.373456","s":"1800000001.373456","l":"1800000001.373456","i":"1000.0","j":"1800001001.373456","e":"1800010001.373456","r":"0","n":"1"}','{"cart":"[3]"}');
INSERT INTO "sessions" VALUES('00short','bob',1.80000006137345600135e+09,0.0,'{"b":"session","m":"{\"pwd\":1800000001.373456}","h":"f9b0078b5df596d2ea19010c001bbd009e651de2c57e8fb7e355f31eb9d3f739","c":"1800000001.373456","s":"1800000001.373456","l":"1800000001.373456","i":"60.0","j":"1800000061.373456","e":"1800010001.373456","r":"1","n":"1"}','{}');
CREATE TABLE settled (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "settled" VALUES('keys','{"keys":[]}');
INSERT INTO "settled" VALUES('once:ring','0a1b2c3d');
CREATE TABLE users (
        id TEXT NOT NULL PRIMARY KEY, name_key TEXT UNIQUE, deleted INTEGER NOT NULL, revision INTEGER NOT NULL,
        tokens_until REAL NOT NULL DEFAULT 0, killed_until REAL NOT NULL DEFAULT 0, body TEXT NOT NULL);
INSERT INTO "users" VALUES('alice','alice',0,1,0.0,0.0,'{"display_name":"Alice","scopes":"read","claims":"{\"team\":\"blue\"}","disabled":"","name":"Alice","password_hash":"$argon2id$none","revision":"1","ended_below":"0","checked_at":"1800000000.0","deleted":""}');
INSERT INTO "users" VALUES('bob',NULL,0,1,1.80000060137345600126e+09,0.0,'{"display_name":"","scopes":"admin read","claims":"{}","disabled":"","revision":"1","ended_below":"0","checked_at":"1800000000.0","deleted":""}');
CREATE INDEX sessions_by_user ON sessions (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX sessions_by_end ON sessions (ends_at);
CREATE INDEX ended_by_end ON ended (until);
CREATE INDEX users_by_killed ON users (killed_until);
CREATE INDEX counters_by_end ON counters (until);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',7);
COMMIT;
