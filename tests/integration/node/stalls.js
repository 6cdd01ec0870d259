// stalls.js: a participant that sells seats, in a language that trypact has no SDK for.
"use strict";

const fs = require("node:fs");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [coordinator = "127.0.0.1:7000", file = "stalls.log", proto = "proto"] = process.argv.slice(2);
const { trypact } = grpc.loadPackageDefinition(
  loader.loadSync(["trypact/v1/participant.proto", "trypact/v1/registry.proto"], {
    includeDirs: [proto],
    keepCase: true,
    enums: String,
    longs: Number,
  }),
);

// The database: a file of lines, each on disk before anybody is told of it. A branch is a line, or
// more; the last one says where it is. So the fence and the seats can never disagree.
let free = 10;
const branches = new Map();

function apply(branch) {
  const { state: before } = branches.get(branch.key) ?? {};
  if (branch.state === "TRIED") free -= branch.seats;
  if (branch.state === "CANCELLED" && before === "TRIED") free += branch.seats;
  branches.set(branch.key, branch);
}

const lines = fs.existsSync(file) ? fs.readFileSync(file, "utf8").split("\n") : [""];
// A crash may have left half a line: nobody was told of it.
const half = lines.pop();
lines.map((line) => JSON.parse(line)).forEach(apply);
const log = fs.openSync(file, "a");
if (half) fs.ftruncateSync(log, fs.fstatSync(log).size - Buffer.byteLength(half));

function write(branch) {
  fs.writeSync(log, JSON.stringify(branch) + "\n");
  fs.fsyncSync(log);
  apply(branch);
}

// What each operation answers, by what its branch has got to. All of them may come twice, late, or
// in the wrong order.
const ok = (seats) => ({ ok: { result: Buffer.from(seats ? JSON.stringify({ seats }) : "") } });
const refused = (reason) => ({ refused: { reason } });

// Whatever an initiator sent: anything but a number of seats would be in the file for ever.
function wanted(payload) {
  try {
    const { seats } = JSON.parse(payload) ?? {};
    return Number.isInteger(seats) && seats > 0 ? seats : undefined;
  } catch {
    return undefined;
  }
}

const operations = {
  Try(call, key, branch) {
    if (branch?.state === "REFUSED") return refused(branch.reason);
    if (branch?.state === "CANCELLED") return refused("ALREADY_CANCELLED: no Try after Cancel");
    if (branch) return ok(branch.seats);
    const seats = wanted(call.payload);
    if (seats <= free) {
      write({ key, state: "TRIED", seats });
      return ok(seats);
    }
    const reason = seats ? `sold_out: ${free} left` : 'bad_request: send {"seats": N}, N above 0';
    write({ key, state: "REFUSED", reason });
    return refused(reason);
  },
  Confirm(call, key, branch) {
    if (branch?.state === "TRIED") write({ ...branch, state: "CONFIRMED" });
    else if (branch?.state !== "CONFIRMED") return refused("NOT_TRIED: no Try to confirm");
    return ok();
  },
  Cancel(call, key, branch) {
    if (branch?.state === "CONFIRMED") return refused("ALREADY_CONFIRMED: no Cancel after Confirm");
    // Without a Try as well: should that come later, it must not run.
    if (branch?.state !== "REFUSED") write({ seats: 0, ...branch, key, state: "CANCELLED" });
    return ok();
  },
};

function serve(name) {
  return ({ request: { call } }, answer) => {
    if (name === "Try" && Date.now() * 1000 > call.not_after_us) {
      return answer({ code: grpc.status.DEADLINE_EXCEEDED, details: "this Try came too late" });
    }
    const key = `${call.xid} ${call.branch_id}`;
    const said = operations[name](call, key, branches.get(key));
    console.log(`${name} ${key}: ${Object.keys(said)[0]}, ${free} free`);
    answer(null, { answer: said });
  };
}

// Only what is registered is ever called. A registration lapses unless it is renewed.
const registry = new trypact.v1.RegistryService(coordinator, grpc.credentials.createInsecure());
const me = { participant: "stalls", instance: "stalls-1" };
let everyMs = 1000;

function register(endpoint) {
  const actions = [{ verb: "book", kinds: ["BRANCH_KIND_TCC"] }];
  const within = { deadline: Date.now() + 5000 };
  registry.Register({ ...me, endpoint, actions }, within, (error, reply) => {
    if (!error) console.log(`stalls is registered with the coordinator, ${free} free`);
    everyMs = error ? 1000 : reply.renew_every_ms;
    setTimeout(error ? register : renew, everyMs, endpoint);
  });
}

function renew(endpoint) {
  registry.Renew(me, { deadline: Date.now() + 5000 }, (error, reply) => {
    if (!error && !reply.known) register(endpoint);
    else setTimeout(renew, everyMs, endpoint);
  });
}

const server = new grpc.Server();
server.addService(trypact.v1.ParticipantService.service, {
  Try: serve("Try"),
  Confirm: serve("Confirm"),
  Cancel: serve("Cancel"),
});
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  register(`127.0.0.1:${port}`);
});
