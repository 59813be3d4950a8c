PRAGMA application_id=1634953057;
PRAGMA user_version=1;
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
INSERT INTO "events" VALUES(1,'41c0235d54a8d3f8','keys','{}');
INSERT INTO "events" VALUES(2,'7415a040c2853f7e','user','{"id":"alice","revision":1,"ended_below":0,"kept":null}');
INSERT INTO "events" VALUES(3,'6f201bd86ae56989','user','{"id":"bob","revision":1,"ended_below":0,"kept":null}');
INSERT INTO "events" VALUES(4,'ed3c68dcb056261a','all','{"era":1}');
INSERT INTO "events" VALUES(5,'1aa43c95e8ae2524','changed','{"sid":"00cookie","data_version":0}');
INSERT INTO "events" VALUES(6,'a33eebf0eabfea97','changed','{"sid":"00cookie","data_version":1}');
INSERT INTO "events" VALUES(7,'30d5269ba367575c','ended','{"sid":"00ended","user":"bob","reason":"logout","tokens_until":0.0}');
CREATE TABLE sessions (
            sid TEXT NOT NULL PRIMARY KEY, user_id TEXT, forget_at REAL NOT NULL, tokens_until REAL NOT NULL,
            body TEXT NOT NULL, data TEXT NOT NULL);
INSERT INTO "sessions" VALUES('00before','alice',1800004600.0,0.0,'{"user":"alice","backend":"session","address":"","user_agent":"","amr":"{\"pwd\":1800000000.0}","remember":"","digest":"6db7d803e74f1ffa7d8f5adc0bf95b3e15bf4c8373fffadf546227cc6c6742cb","previous_digest":"","created_at":"1800000000.0","seen_at":"1800000000.0","authenticated_at":"1800000000.0","idle":"1000.0","idle_expires_at":"1800001000.0","expires_at":"1800010000.0","previous_until":"0.0","tokens_until":"0.0","revision":"1","era":"0","data_version":"0"}','{}');
INSERT INTO "sessions" VALUES('00cookie','alice',1800004601.25,0.0,'{"user":"alice","backend":"session","address":"203.0.113.0","user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0","amr":"{\"pwd\":1800000001.25}","remember":"1","digest":"dea377cac0fb2c6bfe8793ae282bf008b65b3aef6687d315200740ffa0847b4f","previous_digest":"d7e83e28a04b537e64424546b14caf9b67bad2f28dabce68116e0d372319fa00","created_at":"1800000001.25","seen_at":"1800000001.25","authenticated_at":"1800000001.25","idle":"1000.0","idle_expires_at":"1800001001.25","expires_at":"1800010001.25","previous_until":"1800000031.25","tokens_until":"0.0","revision":"1","era":"1","data_version":"1"}','{"cart":"[1,2]","name":"\"Zo\u00eb\"","theme":"\"dark\""}');
INSERT INTO "sessions" VALUES('00bearer','bob',1.80000460137345600127e+09,1.80000060137345600126e+09,'{"user":"bob","backend":"jwt","address":"","user_agent":"","amr":"{\"pwd\":1800000001.373456}","remember":"","digest":"","previous_digest":"","created_at":"1800000001.373456","seen_at":"1800000001.373456","authenticated_at":"1800000001.373456","idle":"1000.0","idle_expires_at":"1800001001.373456","expires_at":"1800010001.373456","previous_until":"0.0","tokens_until":"1800000601.373456","revision":"1","era":"1","data_version":"0","client_id":"app","generation":"2","token_digest":"949167a5f2a0e16fccfd83a2d9fc55366181225a9ce2dba35feff7fe422f2833","previous_token_digest":"2454ad61c2acc04f0a20fabf7f2bc96f28d19c434052fdefdbb51b46fe534f89","nonce":"nonce-bearer2","asked":"","made_at":"1800000001.373456"}','{}');
INSERT INTO "sessions" VALUES('00visitor',NULL,1.80000460137345600127e+09,0.0,'{"backend":"session","address":"","user_agent":"","amr":"{}","remember":"","digest":"5f14f9e6d80f802a65269804f2552ef9889f2c7ccec5067214e58a1e48e0b3ff","previous_digest":"","created_at":"1800000001.373456","seen_at":"1800000001.373456","authenticated_at":"1800000001.373456","idle":"1000.0","idle_expires_at":"1800001001.373456","expires_at":"1800010001.373456","previous_until":"0.0","tokens_until":"0.0","revision":"0","era":"1","data_version":"0"}','{"cart":"[3]"}');
INSERT INTO "sessions" VALUES('00short','bob',1.8000036613734560013e+09,0.0,'{"user":"bob","backend":"session","address":"","user_agent":"","amr":"{\"pwd\":1800000001.373456}","remember":"","digest":"f9b0078b5df596d2ea19010c001bbd009e651de2c57e8fb7e355f31eb9d3f739","previous_digest":"","created_at":"1800000001.373456","seen_at":"1800000001.373456","authenticated_at":"1800000001.373456","idle":"60.0","idle_expires_at":"1800000061.373456","expires_at":"1800010001.373456","previous_until":"0.0","tokens_until":"0.0","revision":"1","era":"1","data_version":"0"}','{}');
CREATE TABLE settled (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "settled" VALUES('keys','{"keys":[]}');
INSERT INTO "settled" VALUES('once:ring','0a1b2c3d');
CREATE TABLE users (
            id TEXT NOT NULL PRIMARY KEY, name_key TEXT UNIQUE, deleted INTEGER NOT NULL, revision INTEGER NOT NULL,
            tokens_until REAL NOT NULL DEFAULT 0, killed_until REAL NOT NULL DEFAULT 0, body TEXT NOT NULL);
INSERT INTO "users" VALUES('alice','alice',0,1,0.0,0.0,'{"display_name":"Alice","scopes":"read","claims":"{\"team\":\"blue\"}","disabled":"","name":"Alice","password_hash":"$argon2id$none","revision":"1","ended_below":"0","checked_at":"1800000000.0","deleted":""}');
INSERT INTO "users" VALUES('bob',NULL,0,1,1.80000060137345600126e+09,0.0,'{"display_name":"","scopes":"admin read","claims":"{}","disabled":"","revision":"1","ended_below":"0","checked_at":"1800000000.0","deleted":""}');
CREATE INDEX sessions_by_user ON sessions (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX sessions_by_end ON sessions (forget_at);
CREATE INDEX ended_by_end ON ended (until);
CREATE INDEX users_by_killed ON users (killed_until);
CREATE INDEX counters_by_end ON counters (until);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',7);
COMMIT;
