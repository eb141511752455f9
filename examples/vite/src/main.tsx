// A chat whose runs survive a line that breaks:
//
//     uvicorn app:app --port 8000          the agent, with the CORS lines it needs
//     npm install && npm run dev           this page, on http://localhost:5173
import { HttpAgent } from "@ag-ui/client";
import { useRef, useState } from "react";
import { createRoot } from "react-dom/client";
import { resumable, type Status } from "rx-agui";

const url = import.meta.env.VITE_AGENT ?? "http://localhost:8000/agent";

function Chat() {
  const [text, setText] = useState("");
  const [state, setState] = useState<Status["state"]>("done");
  const agent = useRef<HttpAgent | null>(null);
  agent.current ??= new HttpAgent({
    url,
    fetch: resumable({ onstate: (status) => setState(status.state) }),
  });

  async function ask() {
    const to = agent.current!;
    to.addMessage({ id: crypto.randomUUID(), role: "user", content: "Hello" });
    await to.runAgent({}, {
      onMessagesChanged: ({ messages }) => setText(String(messages.at(-1)?.content ?? "")),
      onRunErrorEvent: ({ event }) => setText(event.message),
    });
  }

  return (
    <main>
      <button onClick={() => void ask()}>Ask</button>
      <button onClick={() => agent.current!.abortRun()}>Stop</button>
      <p>{state}</p>
      <p>{text}</p>
    </main>
  );
}

createRoot(document.getElementById("root")!).render(<Chat />);
