// Express with iron-session: a page that opens the sealed cookie, calls the API with its token, and renders a string.
// node express.mjs <folder with node_modules> <URL of the API> <session as JSON>; prints its port and the cookie.
import { createRequire } from "node:module";

const [folder, api, session] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const express = require("express");
const { getIronSession, sealData } = require("iron-session");

const options = { cookieName: "session", password: "peers-only-" + "0".repeat(32), ttl: 0 };
const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escape = (value) => String(value).replace(/[&<>"']/g, (character) => ENTITIES[character]);

const app = express();
app.get("/small/", async (request, response) => {
  const { user, accessToken } = await getIronSession(request, response, options);
  const answer = await fetch(`${api}/protected-route`, { headers: { Authorization: `Bearer ${accessToken}` } });
  const [row] = (await answer.json()).data;
  response.send(
    `<!doctype html><title>Readings</title><p>${escape(user.email)}: ${escape(row.station)} ${escape(row.metres)}</p>`,
  );
});

const cookie = `session=${await sealData(JSON.parse(session), options)}`;
const server = app.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ port: server.address().port, cookie }));
});
// It does not outlive the process that started it.
process.stdin.on("end", () => process.exit()).resume();
